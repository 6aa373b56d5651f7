"""Servers of others receive our mail: what came of it, as a table.

    python -m tests.e2e.peers [HOST ...]

One daemon sends to all hosts of tests/e2e/hosts.py, a message for each feature. Each cell is read from what the host heard, and from
what came to the recipient and to the sender. Root on Linux only.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e import namespace
from tests.e2e.hosts import HOSTS, LIMIT, USERS, Host
from tests.e2e.support import Daemon, certificate, running, waitFor

FEATURES = ("tls", "plain", "dsn", "utf8", "8bit", "bdat", "large", "size", "grey")

_LOCALS = {"utf8": "grüße"}
# Complete: nobody has to add anything.
_HEADER = (
    "From: sender@here.test\r\nDate: Mon, 01 Jan 2024 12:00:00 +0000\r\nMessage-ID: <{feature}@here.test>\r\n"
    "To: others@here.test\r\nSubject: {feature}\r\n\r\n"
)
_BODIES = {
    "8bit": "Grüße aus Köln.\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n",
    # Dots in every position, and no line of it that a command could be.
    "bdat": b".\r\n..\r\n.x\r\nQUIT\r\n\r\n.\r\n",
    "large": (b"." + b"x" * 70 + b"\r\n") * (LIMIT // 2 // 73),
    "size": (b"y" * 70 + b"\r\n") * (LIMIT // 72 + 100),
}
Row = dict[str, str]


def matrix(*names: str, patience: float = 400.0) -> dict[str, Row]:
    """By host and feature.

    @raise AssertionError: a server did not start, or a message had no outcome.
    """
    done = namespace.inside("tests.e2e.peers", "--inside", *names, patience=patience)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    table: dict[str, Row] = json.loads(done.stdout)
    return table


def _inside(names: list[str]) -> dict[str, Row]:
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    try:
        namespace.furnish(USERS, place / "home")
        certificate(place)
        (place / "key.pem").chmod(0o644)
        with ExitStack() as stack:
            hosts = [
                make(place, f"127.0.0.{number}", 2525)
                for number, make in enumerate(HOSTS, 11)
                if not names or make.name in names
            ]
            for host in hosts:
                host.start(stack)
            daemon = stack.enter_context(running(_configuration(hosts)))
            for host in hosts:
                for feature in FEATURES:
                    _send(daemon, host, feature)
            return {host.name: _row(daemon, host) for host in hosts}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _configuration(hosts: list[Host]) -> str:
    # One connection at a time: what a host heard is in order.
    lines = ["mta limit max-conn-per-host 1", "listen on 127.0.0.1 port @PORT@"]
    lines += ['action "here" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }']
    lines += [f'action "{host.name}" {host.url.format(address=host.address, port=host.port)}' for host in hosts]
    lines += ['match from any for domain "here.test" action "here"']
    lines += [f'match from any for domain "{host.name}.test" action "{host.name}"' for host in hosts]
    return "\n".join((*lines, ""))


def _recipient(host: Host, feature: str) -> str:
    return f"{_LOCALS.get(feature, feature)}@{host.name}.test"


def _content(feature: str) -> bytes:
    return _HEADER.format(feature=feature).encode() + _BODIES.get(feature, b"Hello.\r\n")


def _send(daemon: Daemon, host: Host, feature: str) -> None:
    ofMail = {
        "8bit": ["BODY=8BITMIME"],
        "utf8": ["SMTPUTF8"],
        "dsn": ["RET=HDRS", "ENVID=our+2Bid"],
    }
    ofRcpt = {"dsn": ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@here.test"]}
    with daemon.client() as client:
        client.ehlo("client.test")
        if feature == "utf8":
            client.command_encoding = "utf-8"
        for code, said in (
            client.mail(f"{feature}.{host.name}@here.test", ofMail.get(feature, [])),
            client.rcpt(_recipient(host, feature), ofRcpt.get(feature, [])),
            client.data(_content(feature)),
        ):
            assert code == 250, said


def _row(daemon: Daemon, host: Host) -> Row:
    def attempts(feature: str) -> list[dict[str, Any]]:
        return [row for row in daemon.events("delivery") if row["to"] == _recipient(host, feature)]

    for feature in FEATURES:
        waitFor(f"an attempt for {_recipient(host, feature)}", partial(attempts, feature))
    refused = attempts("grey")[0]
    host.accept()
    waitFor("the retry", lambda: len(attempts("grey")) > 1 or _retry(daemon, host))
    last = {feature: attempts(feature)[-1] for feature in FEATURES}
    for feature in FEATURES:
        if last[feature]["result"] == "Ok":
            recipient = _recipient(host, feature)
            waitFor(f"the message for {recipient}", partial(host.contents, recipient))
    row = {feature: _outcome(last[feature]) for feature in FEATURES}
    sessions = {event["session"]: event["ciphers"] for event in daemon.events("tls")}
    row["tls"] = sessions.get(last["tls"]["session"], "in plain text").partition(":")[0]
    for feature in ("plain", "8bit", "bdat", "large"):
        copies = host.contents(_recipient(host, feature))
        came = [_content(feature) in copy for copy in copies]
        row[feature] += ", as it was" if came == [True] else f", {len(came)} copies" if len(came) != 1 else ", CHANGED"
    heard = {feature: " ".join(host.heard(_recipient(host, feature))) for feature in FEATURES}
    for feature in ("bdat", "large"):
        row[feature] += ", BDAT" if " BDAT" in heard[feature] else ", DATA"
    row["8bit"] += ", declared" if "BODY=8BITMIME" in heard["8bit"] else ", undeclared"
    row["utf8"] += ", declared" if "SMTPUTF8" in heard["utf8"] else ""
    words = ("RET=HDRS", "ENVID=our+2Bid", "NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@here.test")
    handed = [word for word in words if word.lower() in heard["dsn"].lower()]
    row["dsn"] += (
        ", handed on" if len(handed) == len(words) else f", {handed}" if handed else ", " + _notice(daemon, host)
    )
    row["size"] += (
        ", nothing said" if "MAIL" not in heard["size"] else ", at MAIL" if "DATA" not in heard["size"] else ", in DATA"
    )
    row["grey"] = f"{_outcome(refused)}, then {row['grey']}, {len(host.contents(_recipient(host, 'grey')))} copy"
    return row


def _outcome(attempt: dict[str, Any]) -> str:
    """Such as C{Ok} or C{PermFail 5.3.4}."""
    if attempt["result"] == "Ok":
        return "Ok"
    found = re.search(r"\b[45]\.\d+\.\d+\b", attempt["stat"])
    return f"{attempt['result']} {found[0] if found else attempt['stat']}"


def _retry(daemon: Daemon, host: Host) -> bool:
    for row in daemon.queued():
        if row["recipient"] == _recipient(host, "grey"):
            daemon.control("schedule", row["evpid"])
    time.sleep(0.5)
    return False


def _notice(daemon: Daemon, host: Host) -> str:
    """What the sender was told who wanted to hear of success."""
    sender = f"Delivered-To: dsn.{host.name}@here.test\n".encode()

    def told() -> list[bytes]:
        return [letter for letter in (path.read_bytes() for path in daemon.delivered()) if sender in letter]

    (letter,) = waitFor(f"a report about {_recipient(host, 'dsn')}", told)
    action = re.search(rb"(?mi)^Action: (\w+)", letter)
    return f"not offered, sender told: {action[1].decode() if action else 'something'}"


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(_inside(sys.argv[2:])))
        return
    table = matrix(*sys.argv[1:])
    widths = {name: max(len(name), *(len(text) for text in row.values())) for name, row in table.items()}
    print("  ".join([f"{'':5}", *(f"{name:{widths[name]}}" for name in table)]).rstrip())
    for feature in FEATURES:
        print("  ".join([f"{feature:5}", *(f"{row[feature]:{widths[name]}}" for name, row in table.items())]).rstrip())


if __name__ == "__main__":
    main()
