"""A room of our own for servers whose paths, ports and users are fixed: a network that is loopback alone, and mounts that nobody else sees.

Root on Linux only. Everything that is started inside ends with the process that entered.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.support import ROOT, environment, run

# Addresses that are ours without standing on an interface: who comes from them is not local.
FOREIGN = ("203.0.113.0/24", "192.0.2.0/24")
# An interface that leads nowhere: resolvers want one address that is not loopback.
OWN = "198.51.100.1"
NAME = "mx.example.org"


def inside(module: str, *arguments: str, patience: float) -> subprocess.CompletedProcess[str]:
    """Run C{python -m module arguments} in a room of its own, to its end.

    @raise subprocess.TimeoutExpired: and everything in the room is dead.
    """
    command = [
        "unshare",
        "--net",
        "--uts",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    return subprocess.run(
        [*command, sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        env=environment(),
        cwd=ROOT,
        check=False,
    )


def furnish(users: Sequence[str], homes: Path) -> None:
    """Inside: bring loopback up, hide what is mounted over, and add users to the system.

    @param users: their homes are below C{homes}, but for those that daemons are.
    """
    if os.getpid() != 1:
        raise RuntimeError("this changes mounts and users: it runs by inside() alone")
    socket.sethostname(NAME)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "leaf", "type", "bridge")
    run("ip", "address", "add", f"{OWN}/32", "dev", "leaf")
    run("ip", "link", "set", "leaf", "up")
    for network in FOREIGN:
        run("ip", "route", "add", "local", network, "dev", "lo")
    for path in ("/run", "/var/lib", "/var/spool", "/var/mail"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
    scratch = Path(tempfile.mkdtemp(prefix="etc-", dir="/run"))
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    for number, name in enumerate(users, 58001):
        if f"\n{name}:" not in f"\n{passwd}":
            home = homes / name
            home.mkdir(parents=True)
            os.chown(home, number, number)
            passwd += f"{name}:x:{number}:{number}::{home}:/bin/sh\n"
            group += f"{name}:x:{number}:\n"
    for name, text in (
        ("passwd", passwd),
        ("group", group),
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("hosts", "127.0.0.1 localhost\n"),
        ("mailname", f"{NAME}\n"),
    ):
        target = Path("/etc") / name
        if target.exists():
            (scratch / name).write_text(text)
            run("mount", "--bind", str(scratch / name), os.path.realpath(target))
