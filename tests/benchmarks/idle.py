"""What idle sessions cost: C{python -m tests.benchmarks.idle [SESSIONS] [MESSAGES]}.

Starts the whole daemon as a process, holds sessions open after their EHLO, and sends mail by another one meanwhile, all over
loopback. Prints resident octets for each held session, and the time of a message without and with them.

Measured: 2.0 kB a session at 5,000, 2.1 kB at 15,000.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR = 12_000
CONFIG = """
listen on 127.0.0.1 port {port}
action "out" relay
match from any for any action "out"
"""
USER = ["--user", "nobody"] if os.geteuid() == 0 else []


def freePort() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rss(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def say(connection: socket.socket, line: bytes, code: bytes) -> None:
    if line:
        connection.sendall(line)
    heard = b""
    while not (heard.endswith(b"\n") and heard[:-2].rpartition(b"\n")[2][3:4] == b" "):
        more = connection.recv(4096)
        if not more:
            raise SystemExit(f"closed after {heard!r}")
        heard += more
    if not heard.startswith(code):
        raise SystemExit(f"expected {code!r}: {heard!r}")


def opened(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    say(connection, b"", b"220")
    say(connection, b"EHLO client.test\r\n", b"250")
    return connection


def mail(port: int, messages: int) -> list[float]:
    """Seconds of each message, on one connection."""
    connection = opened(port)
    times = []
    for _ in range(messages):
        began = time.monotonic()
        say(connection, b"MAIL FROM:<a@client.test>\r\n", b"250")
        say(connection, b"RCPT TO:<b@remote.test>\r\n", b"250")
        say(connection, b"DATA\r\n", b"354")
        say(connection, b"Subject: x\r\n\r\nHello.\r\n.\r\n", b"250")
        times.append(time.monotonic() - began)
    say(connection, b"QUIT\r\n", b"221")
    connection.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", type=int, nargs="?", default=5000)
    parser.add_argument("messages", type=int, nargs="?", default=300)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = Path(tempfile.mkdtemp(prefix="idle-"))
    directory.chmod(0o755)
    port = freePort()
    config = directory / "smtpd.conf"
    config.write_text(CONFIG.format(port=port))
    command = [sys.executable, "-m", "pysmtpd", "-f", str(config), "--spool", str(directory / "spool"), "-P", "mta"]
    daemon = subprocess.Popen([*command, "--log", "none", *USER])
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                opened(port).close()
                break
            if time.monotonic() > deadline or daemon.poll() is not None:
                raise SystemExit("the daemon does not answer")
            time.sleep(0.05)
        mail(port, 3)
        # Before much mail has flowed: what that leaves free would hide what sessions take.
        before = rss(daemon.pid)
        held = [opened(port) for _ in range(options.sessions)]
        each = (rss(daemon.pid) - before) / options.sessions
        crowded = mail(port, options.messages)
        for connection in held:
            connection.close()
        alone = mail(port, options.messages)
        print(f"sessions held           {len(held)}")
        print(f"octets for each         {each:.0f}   (bar: {BAR})")
        print(f"a message without them  {statistics.median(alone) * 1e3:.2f} ms")
        print(f"a message beside them   {statistics.median(crowded) * 1e3:.2f} ms")
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
