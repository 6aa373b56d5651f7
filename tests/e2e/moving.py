"""What is queued in OpenSMTPD is handed over, by the commands of docs/migrating.md.

In a room of its own, with Debian's opensmtpd, a 6.8. Root on Linux only.
"""

from __future__ import annotations

import json
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.e2e import namespace
from tests.e2e.hosts import BESIDE, process
from tests.e2e.support import ROOT, environment, run, waitFor

PAGE = ROOT / "docs" / "migrating.md"
USERS = ("opensmtpd", "opensmtpq", "pysmtpd", "ann", "ben")
PROGRAMS = BESIDE / "opensmtpd/usr/sbin"

_THEIRS = """
listen on 127.0.0.1 port 2001
action "away" relay host smtp://127.0.0.1:9
match from any for any action "away"
"""
_OURS = """
listen on 127.0.0.1 port 2002
action "box" maildir virtual { "ann@example.org" = ann, "ben@example.org" = ben }
match from local for domain "example.org" action "box"
"""


def move(patience: float = 120.0) -> dict[str, list[str]]:
    """Queue messages there, and hand them over.

    @return: C{before} and C{after}: what smtpctl shows of the queue; by user the subjects of what came.
    """
    done = namespace.inside("tests.e2e.moving", "--inside", patience=patience)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _inside() -> dict[str, list[str]]:
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    try:
        with ExitStack() as stack:
            return _move(place, stack)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _move(place: Path, stack: ExitStack) -> dict[str, list[str]]:
    namespace.furnish(USERS, place / "home")
    Path("/var/lib/opensmtpd/empty").mkdir(parents=True)
    for name, text in (("theirs", _THEIRS), ("ours", _OURS)):
        (place / name).write_text(text)
        (place / name).chmod(0o600)
    theirs = [str(PROGRAMS / "smtpd"), "-d", "-f", str(place / "theirs")]
    stack.enter_context(process(place / "theirs.log", ("127.0.0.1", 2001), *theirs))
    ours = [sys.executable, "-m", "pysmtpd", "--user", "pysmtpd", "--spool", str(place / "spool"), "-f"]
    stack.enter_context(process(place / "ours.log", ("127.0.0.1", 2002), *ours, str(place / "ours")))
    with smtplib.SMTP("127.0.0.1", 2001) as client:
        for number, recipients in enumerate((["ann@example.org"], ["ann@example.org", "ben@example.org"])):
            client.sendmail("joe@example.net", recipients, f"Subject: {number}\r\n\r\nHello.\r\n")
    before = _queue()
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = f"{PROGRAMS}:{Path(sys.executable).parent}:{environment()['PATH']}"
    subprocess.run(
        ["sh", "-euc", commands],
        env=environment(PATH=path, PYSMTPD_SOCKET=str(place / "spool/control.sock")),
        stdout=sys.stderr,
        check=True,
        timeout=60,
    )
    after = _queue()

    def came(user: str) -> list[str]:
        letters = (place / "home" / user / "Maildir/new").glob("*")
        return sorted(re.findall(r"^Subject: (.*)", "".join(path.read_text() for path in letters), re.MULTILINE))

    waitFor("the messages", lambda: len(came("ann")) == 2 and len(came("ben")) == 1)
    return {"before": before, "after": after, "ann": came("ann"), "ben": came("ben")}


def _queue() -> list[str]:
    return run(str(PROGRAMS / "smtpctl"), "show", "queue").splitlines()


if __name__ == "__main__":
    print(json.dumps(_inside() if sys.argv[1:] == ["--inside"] else move()))
