"""Zones of a private DNS, one of them signed: written, signed anew, and read again by a BIND that runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.names import dns

from tests.e2e.servers import bind, unbound
from tests.e2e.support import run, waitFor

# Seconds; of everything, also of what does not exist.
TTL = 1


class Zones:
    """A signed zone and a plain one, behind an Unbound that validates.

    @ivar port: of Unbound, on 127.0.0.1.
    """

    def __init__(self, place: Path, signed: str, plain: str) -> None:
        self.port = 0
        self._place = place
        self._signed = signed
        self._plain = plain
        self._serial = 0
        self._keys = place / "keys"
        self._keys.mkdir()
        for more in (["-f", "KSK"], []):
            run("dnssec-keygen", "-q", "-K", str(self._keys), "-a", "ECDSAP256SHA256", *more, signed)

    def write(self, signed: Sequence[str], plain: Sequence[str], tampered: Sequence[str] = ()) -> None:
        """Replace what is in them.

        @param tampered: names in the signed zone whose TLSA records are changed after signing.
        """
        self._serial += 1
        source, target, keys = self._place / "unsigned", self._place / "new", str(self._keys)
        source.write_text(self._zone(signed))
        usual = ["-S", "-K", keys, "-d", keys, "-o", self._signed, "-O", "full"]
        run("dnssec-signzone", *usual, "-f", str(target), str(source))
        text = target.read_text()
        for name in tampered:
            pattern = rf"(?m)^({re.escape(name)}\.{self._signed}\.\s.*\sTLSA\s+3 1 1 )[0-9A-F]{{8}}"
            text, count = re.subn(pattern, r"\g<1>DEADBEEF", text)
            assert count == 1, f"{name} has {count} TLSA records"
        (self._place / self._signed).write_text(text)
        (self._place / self._plain).write_text(self._zone(plain))

    def serve(self, stack: ExitStack) -> None:
        """Answer what was written, until the stack is closed."""
        shutil.copy(self._keys / f"dsset-{self._signed}.", self._place / "anchors")
        zones = (self._signed, self._plain)
        self.port = stack.enter_context(unbound(self._place, zones, stack.enter_context(bind(self._place, zones))))

    def renew(self) -> None:
        """What was written since counts from now on."""
        os.kill(int((self._place / "named.pid").read_text()), signal.SIGHUP)
        for zone in (self._signed, self._plain):
            waitFor(f"the new {zone}", lambda zone=zone: self._served(zone) == self._serial)  # type: ignore[misc]
        # Unbound and the daemon count whole seconds.
        over = time.monotonic() + 2 * TTL
        waitFor("all that was remembered to be over", lambda: time.monotonic() > over)

    def _served(self, zone: str) -> int:
        """The serial number that Unbound tells."""
        question = dns.Message(recDes=1)
        question.addQuery(zone, dns.SOA)
        answer = dns.Message()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(2)
            asking.sendto(question.toStr(), ("127.0.0.1", self.port))
            answer.fromStr(asking.recv(4096))
        payloads: list[Any] = [header.payload for header in answer.answers if header.type == dns.SOA]
        return int(payloads[0].serial) if payloads else 0

    def _zone(self, lines: Sequence[str]) -> str:
        usual = [f"$TTL {TTL}", f"@ SOA ns hostmaster {self._serial} 3600 600 86400 {TTL}", "@ NS ns", "ns A 127.0.0.1"]
        return "\n".join((*usual, *lines, ""))
