"""Relaying to a next hop that offers TLS, beside Postfix: messages a second, CPU of the whole server, connections at the next hop.

    python -m tests.benchmarks.relay_tls [--messages N] [--rounds N] [--sessions N] [PEER ...]

As root on Linux, with Postfix installed; everything runs in a network of its own. C{postfix} is as shipped, with
C{smtp_tls_security_level = may}; C{postfix_t} has also C{smtp_tls_connection_reuse = yes} and C{in_flow_delay = 0}. pysmtpd has shipped
defaults. The next hop speaks TLS 1.3 with a P-256 certificate, and counts what comes, by TLS and in clear. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e import namespace
from tests.e2e.support import certificate, environment, run, say, waitFor

PORT, NEXT = 2525, 2526
PATIENCE = 120.0
_TICK = os.sysconf("SC_CLK_TCK")

_MAIN = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
maillog_file = {place}/mail.log
maillog_file_prefixes = {place}
myhostname = bench.example.org
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{next}
smtp_tls_security_level = may
{more}
"""
_TUNED = "smtp_tls_connection_reuse = yes\nin_flow_delay = 0"

_OURS = """
listen on 127.0.0.1 port {port}
action "a" relay host "smtp://127.0.0.1:{next}"
match from any for any action "a"
"""


class Sink:
    """The next hop: takes everything, keeps nothing."""

    def __init__(self, context: ssl.SSLContext, counts: Path) -> None:
        self._context = context
        self._counts = counts
        self.connections = self.messages = self.encrypted = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._session, "127.0.0.1", NEXT, backlog=1024, limit=1 << 20)
        self._tell()
        async with server:
            await server.serve_forever()

    def _tell(self) -> None:
        written = self._counts.with_suffix(".new")
        written.write_text(json.dumps([self.connections, self.messages, self.encrypted]))
        written.replace(self._counts)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            writer.write(b"220 next.example.org ESMTP\r\n")
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            # The peer is gone.
            return
        finally:
            writer.close()
            self._tell()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        isSecure = False
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-next.example.org\r\n250-PIPELINING\r\n" + (b"" if isSecure else b"250-STARTTLS\r\n"))
                writer.write(b"250 8BITMIME\r\n")
            elif verb == b"STAR":
                writer.write(b"220 go ahead\r\n")
                await writer.start_tls(self._context)
                isSecure = True
            elif verb == b"DATA":
                writer.write(b"354 go ahead\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                self.messages += 1
                self.encrypted += isSecure
                if self.messages % 50 == 0:
                    self._tell()
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")


def _sink(place: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    asyncio.run(Sink(context, place / "counts").serve())


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and ticks, its ended children's too, of each process."""
    found: dict[int, tuple[int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                # It has ended meanwhile.
                continue
            found[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    return found


def _cpu(root: int) -> float:
    """Seconds that a process and all below it have used."""
    processes = _processes()

    def isBelow(process: int) -> bool:
        while process in processes:
            if process == root:
                return True
            process = processes[process][0]
        return False

    return sum(ticks for process, (_, ticks) in processes.items() if isBelow(process)) / _TICK


@contextmanager
def _postfix(place: Path, more: str) -> Iterator[subprocess.Popen[bytes]]:
    for name in ("queue", "data", "etc"):
        (place / name).mkdir()
    shutil.chown(place / "data", "postfix")
    (place / "etc/main.cf").write_text(_MAIN.format(place=place, next=NEXT, more=more))
    services = [f"127.0.0.1:{PORT} inet n - n - - smtpd", "tlsproxy unix - - n - 0 tlsproxy"]
    for line in Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
        words = line.split()
        if len(words) >= 8 and not line.startswith(("#", " ")) and words[1] != "inet" and words[7] != "pipe":
            services.append(" ".join((*words[:4], "n", *words[5:])))
    (place / "etc/master.cf").write_text("\n".join((*services, "")))
    with (place / "output").open("wb") as output:
        server = subprocess.Popen(
            ["postfix", "-c", str(place / "etc"), "start-fg"], stdout=output, stderr=output, env=environment()
        )
        try:
            yield server
        finally:
            run("postfix", "-c", str(place / "etc"), "stop", isOk=False)
            server.wait(30)


@contextmanager
def _pysmtpd(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    (place / "smtpd.conf").write_text(_OURS.format(port=PORT, next=NEXT))
    (place / "smtpd.conf").chmod(0o600)
    with (place / "mail.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "pysmtpd", "-f", str(place / "smtpd.conf"), "--spool", str(place / "spool")],
            stdout=output,
            stderr=output,
            env=environment(),
        )
        try:
            yield server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


PEERS = {
    "postfix": lambda place: _postfix(place, ""),
    "postfix_t": lambda place: _postfix(place, _TUNED),
    "pysmtpd": _pysmtpd,
}


def _greets() -> bool:
    try:
        with socket.create_connection(("127.0.0.1", PORT), 2) as probe:
            return probe.recv(4) == b"220 "
    except OSError:
        return False


def _load(sessions: int, messages: int) -> None:
    target = f"127.0.0.1:{PORT}"
    run("smtp-source", "-s", str(sessions), "-m", str(messages), "-l", "4096",
        "-f", "u@load.example.org", "-t", "u@d.test", target, patience=PATIENCE)  # fmt: skip


def _measure(peer: str, sessions: int, messages: int) -> dict[str, float]:
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    certificate(place)
    command = [sys.executable, "-m", "tests.benchmarks.relay_tls", "--sink", str(place)]
    sink = subprocess.Popen(command, env=environment())

    def counts() -> tuple[int, int, int]:
        connections, taken, encrypted = json.loads((place / "counts").read_text())
        return connections, taken, encrypted

    try:
        waitFor("the next hop", (place / "counts").exists)
        with PEERS[peer](place) as server:
            waitFor(peer, _greets)
            _load(5, 50)
            waitFor("the first messages", lambda: counts()[1] >= 50)
            time.sleep(1)
            before, used, begun = counts(), _cpu(server.pid), time.monotonic()
            _load(sessions, messages)
            waitFor("all messages", lambda: counts()[1] - before[1] >= messages // 50 * 50, PATIENCE)
            seconds = time.monotonic() - begun
            used = _cpu(server.pid) - used
            after = counts()
        taken = after[1] - before[1]
        return {
            "rate": taken / seconds,
            "cpu": used * 1000 / taken,
            "connections": after[0] - before[0],
            "encrypted": (after[2] - before[2]) / taken,
        }
    except AssertionError as error:
        raise AssertionError(f"{error}\n{(place / 'mail.log').read_text()[-2000:]}") from error
    finally:
        sink.terminate()
        sink.wait()
        shutil.rmtree(place, ignore_errors=True)


def _inside(options: argparse.Namespace) -> None:
    namespace.furnish((), Path(tempfile.mkdtemp(prefix="homes-", dir="/run")))
    rows: dict[str, list[dict[str, float]]] = {peer: [] for peer in options.peers}
    for _ in range(options.rounds):
        for peer in options.peers:
            rows[peer].append(_measure(peer, options.sessions, options.messages))
            say(f"{peer:10} " + "  ".join(f"{name} {value:.2f}" for name, value in rows[peer][-1].items()))
    for peer, found in rows.items():
        rates = [row["rate"] for row in found]
        line = (
            f"{peer:10} {statistics.median(rates):.0f} msgs/s, {statistics.median(r['cpu'] for r in found):.2f} ms CPU"
        )
        if "postfix" in rows and peer != "postfix":
            ratios = [row["rate"] / base["rate"] for row, base in zip(found, rows["postfix"], strict=True)]
            line += f", ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        say(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER")
    parser.add_argument("--messages", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sink", type=Path, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.sink is not None:
        _sink(options.sink)
    elif options.inside:
        _inside(options)
    else:
        patience = PATIENCE * 2 * options.rounds * len(options.peers)
        done = namespace.inside("tests.benchmarks.relay_tls", "--inside", *sys.argv[1:], patience=patience)
        print(done.stdout, done.stderr[-3000:] if done.returncode else "")
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
