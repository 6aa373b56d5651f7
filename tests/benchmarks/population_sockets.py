"""Whether the good suffer from the slow and the dead, over real sockets: C{python -m tests.benchmarks.population_sockets [DOMAINS] ...}.

As L{tests.benchmarks.population}, but the daemon is a process of its own with 1,024 descriptors and default limits, and so are the
remote servers and their name server. Root on Linux only: all of it happens in a network namespace of its own, in which every domain has
an address on loopback; those that drop SYNs are behind an interface that leads nowhere.

On a machine that is too busy the name server's answers come too late, and good mail waits for its next try: look at the load first.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from twisted.names import dns

ROOT = Path(__file__).resolve().parent.parent.parent
BAR = 1.2
GOOD, SLOW, DEAD = range(3)
DROPPING, REFUSING, SILENT = range(3)
DESCRIPTORS = 1024
CLIENTS = 8
CONTENT = b"From: a@client.test\r\nTo: b@example.org\r\nSubject: test\r\n\r\nHello.\r\n"
PATIENCE = 900.0

CONFIG = """
listen on 127.0.0.1 port 2525
resolver 127.0.0.1 port 5353
mta allow-local-mx
action "out" relay
match from any for any action "out"
"""


def kindOf(number: int) -> tuple[int, int]:
    return number % 3, number // 3 % 3


def addressOf(number: int) -> str:
    drops = kindOf(number) == (DEAD, DROPPING)
    return f"{10 if drops else 127}.{1 + (number >> 14)}.{number >> 7 & 127}.{1 + (number & 127)}"


# --- the remote servers, and their name server


class Remote(asyncio.Protocol):
    """One session: quick, slow or silent."""

    def __init__(self, world: Remotes, number: int) -> None:
        self._world = world
        self._kind = kindOf(number)[0]
        self._buffer = b""
        self._inData = False
        self._free = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._world.open += 1
        self._say(b"220 there\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._world.open -= 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            line, mark, rest = self._buffer.partition(b"\r\n.\r\n" if self._inData else b"\r\n")
            if not mark:
                return
            self._buffer = rest
            if self._inData:
                self._inData = False
                if self._kind == GOOD:
                    self._world.took()
                self._say(b"250 2.0.0 taken\r\n")
            elif line.startswith(b"EHLO"):
                self._say(b"250-there\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n")
            elif line == b"DATA":
                self._inData = True
                self._say(b"354 go on\r\n")
            else:
                self._say(b"221 2.0.0 bye\r\n" if line == b"QUIT" else b"250 2.0.0 ok\r\n")

    def _say(self, reply: bytes) -> None:
        if self._kind == GOOD:
            self._write(reply)
        elif self._kind == SLOW:
            loop = asyncio.get_running_loop()
            self._free = max(self._free, loop.time()) + self._world.reply
            loop.call_at(self._free, self._write, reply)

    def _write(self, reply: bytes) -> None:
        transport = self._transport
        if not transport.is_closing():
            transport.write(reply)
            if reply.startswith(b"221"):
                transport.close()


class Names(asyncio.DatagramProtocol):
    """Says where C{d7.test} and C{mx7.test} are, and that there is nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str | int, int]) -> None:
        message = dns.Message()
        message.fromStr(data)
        question = message.queries[0]
        name = question.name.name.lower().decode("ascii")
        first = name.partition(".")[0]
        message.answer = message.recAv = 1
        message.additional = []
        if question.type == dns.MX and first[:1] == "d" and first[1:].isdigit():
            record: dns.RRHeader = dns.RRHeader(
                name, dns.MX, ttl=3600, payload=dns.Record_MX(10, f"mx{first[1:]}.test")
            )
            message.answers = [record]
        elif question.type == dns.A and first[:2] == "mx" and first[2:].isdigit():
            payload = dns.Record_A(addressOf(int(first[2:])))
            message.answers = [dns.RRHeader(name, dns.A, ttl=3600, payload=payload)]
        else:
            soa = dns.Record_SOA("test", "root.test", 1, 3600, 3600, 3600, 3600)
            message.authority = [dns.RRHeader("test", dns.SOA, ttl=3600, payload=soa)]
        self._transport.sendto(message.toStr(), address)


class Remotes:
    """
    @ivar wanted: messages for good hosts; when they are there, the time is told.
    """

    def __init__(self, reply: float, wanted: int) -> None:
        self.reply = reply
        self.open = 0
        self._wanted = wanted

    def took(self) -> None:
        self._wanted -= 1
        if not self._wanted:
            print(time.monotonic(), flush=True)

    async def run(self, domains: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(domains):
            if kindOf(number) not in ((DEAD, DROPPING), (DEAD, REFUSING)):
                await loop.create_server(self._maker(number), addressOf(number), 25)
        print("ready", flush=True)
        await asyncio.Event().wait()

    def _maker(self, number: int) -> Callable[[], Remote]:
        return lambda: Remote(self, number)


async def names() -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Names, ("127.0.0.1", 5353))
    await asyncio.Event().wait()


# --- the senders


async def send(queue: asyncio.Queue[tuple[float, int]]) -> None:
    """One client: sends what is due, in turn, five hundred messages on a connection."""
    while not queue.empty():
        reader, writer = await asyncio.open_connection("127.0.0.1", 2525)
        await _expect(reader, b"220")
        writer.write(b"EHLO client.test\r\n")
        await _expect(reader, b"250")
        for _ in range(500):
            if queue.empty():
                break
            due, number = queue.get_nowait()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@d%d.test>\r\nDATA\r\n" % number)
            for code in (b"250", b"250", b"354"):
                await _expect(reader, code)
            writer.write(CONTENT + b".\r\n")
            await _expect(reader, b"250")
        writer.close()


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    line = b"???-"
    while line[3:4] == b"-":
        line = await reader.readline()
        if not line.startswith(code):
            raise RuntimeError(f"the daemon says {line!r}")


async def sendAll(numbers: list[int], rate: float, began: float) -> None:
    queue: asyncio.Queue[tuple[float, int]] = asyncio.Queue()
    for place, number in enumerate(numbers):
        if number >= 0:
            queue.put_nowait((began + place / rate, number))
    await asyncio.gather(*(send(queue) for _ in range(CLIENTS)))


def _sender(numbers: list[int], rate: float, began: float) -> None:
    asyncio.run(sendAll(numbers, rate, began))


# --- one run


def child(*arguments: str, limit: int = 0, out: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    return subprocess.Popen([sys.executable, "-m", *arguments], stdout=out, text=True, cwd=ROOT, preexec_fn=limited)


def cpuOf(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(options: argparse.Namespace, isMixed: bool) -> float:
    """
    @return: seconds from the first message to the last one that a good host took.
    """
    domains, messages = options.domains, options.messages
    numbers = [number % domains for number in range(domains * messages)]
    if not isMixed:
        # Each at the same moment as among all others.
        numbers = [number if kindOf(number)[0] == GOOD else -1 for number in numbers]
    wanted = sum(number >= 0 and kindOf(number)[0] == GOOD for number in numbers)
    with tempfile.TemporaryDirectory(prefix="population-") as place:
        # The daemon is nobody in particular.
        os.chmod(place, 0o755)
        config = Path(place, "smtpd.conf")
        config.write_text(CONFIG)
        remotes = child(
            "tests.benchmarks.population_sockets", "--role", "remotes", str(domains), str(options.reply), str(wanted)
        )
        nameServer = child("tests.benchmarks.population_sockets", "--role", "names")
        log = Path(place, "log").open("w")  # noqa: SIM115
        daemon = child(
            *("pysmtpd", "-f", str(config), "--spool", f"{place}/spool"), limit=DESCRIPTORS, out=log.fileno()
        )
        sender: multiprocessing.Process | None = None
        try:
            assert remotes.stdout is not None
            remotes.stdout.readline()
            for _ in range(300):
                time.sleep(0.1)
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", 2525)) == 0:
                        break
            began = time.monotonic() + 1.0
            sender = multiprocessing.Process(target=_sender, args=(numbers, options.rate, began))
            sender.start()
            most = 0
            os.set_blocking(remotes.stdout.fileno(), False)
            while time.monotonic() < began + PATIENCE:
                time.sleep(0.5)
                most = max(most, len(os.listdir(f"/proc/{daemon.pid}/fd")))
                if sender.exitcode:
                    raise RuntimeError("not all messages were taken")
                told = remotes.stdout.readline()
                if told:
                    seconds = float(told) - began
                    words = "mixed" if isMixed else "alone"
                    print(
                        f"{words}: {seconds:.1f} s for the good third; the daemon has used {cpuOf(daemon.pid):.0f} s of CPU, "
                        f"and {most} descriptors at most",
                        flush=True,
                    )
                    return seconds
            raise TimeoutError(f"some messages for good hosts were not delivered within {PATIENCE:g} s")
        finally:
            if sender is not None:
                sender.kill()
                sender.join()
            for process in (daemon, remotes, nameServer):
                process.send_signal(signal.SIGKILL)
                process.wait()
            log.close()


def inside(options: argparse.Namespace) -> None:
    """In the namespace."""
    for command in (
        "ip link set lo up",
        "ip link add leaf type bridge",
        "ip link set leaf arp off",
        "ip address add 10.255.255.254/8 dev leaf",
        "ip link set leaf up",
    ):
        subprocess.run(command.split(), check=True)
    over = options.domains * options.messages / options.rate
    print(f"{options.domains} domains, {options.messages} messages each, coming over {over:.0f} s", flush=True)
    alone = run(options, False)
    mixed = run(options, True)
    print(f"the good third takes {mixed / alone:.2f} times the time that it takes alone (bar: {BAR})")
    sys.exit(mixed / alone > BAR)


def main() -> None:
    if sys.argv[1:3] == ["--role", "names"]:
        asyncio.run(names())
        return
    if sys.argv[1:3] == ["--role", "remotes"]:
        domains, reply, wanted = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        asyncio.run(Remotes(reply, wanted).run(domains))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("domains", type=int, nargs="?", default=900)
    parser.add_argument("--messages", type=int, default=5, help="for each domain")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second that come")
    parser.add_argument("--reply", type=float, default=3.0, help="seconds for each reply of the slow")
    parser.add_argument("--role", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "inside":
        inside(options)
    else:
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m"]
        os.execvp("unshare", [*command, "tests.benchmarks.population_sockets", *sys.argv[1:], "--role", "inside"])


if __name__ == "__main__":
    main()
