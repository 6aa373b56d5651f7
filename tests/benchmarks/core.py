"""CPU time of the SMTP server core alone: C{python -m tests.benchmarks.core}. No socket, no queue: each event is answered at once."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.body import ContentCheck, DataReader
from pysmtpd.smtp.events import Connect, Content, Data, EndOfData, Hello, Idle, Rcpt, ServerSettings
from pysmtpd.smtp.server import ServerCore

SETTINGS = ServerSettings("mx.example.org", maxSize=1 << 32)
LINE = b"The quick brown fox jumps over the lazy dog, and then it sleeps until noon\r\n"
BODY_4K = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: hello\r\n\r\n" + LINE * 53
SEGMENTS = [
    b"",
    b"EHLO client.example.org\r\n",
    b"MAIL FROM:<alice@example.org> SIZE=4200 BODY=8BITMIME\r\n",
    b"RCPT TO:<bob@example.net>\r\n",
    b"DATA\r\n",
    BODY_4K + b".\r\n",
    b"QUIT\r\n",
]
PIPELINED = [b"", SEGMENTS[1], SEGMENTS[2] + SEGMENTS[3] + SEGMENTS[4], SEGMENTS[5] + SEGMENTS[6]]

OK = Reply(250, "Ok", "2.1.0")
ANSWERS = {
    Connect: Reply(220, "mx.example.org ESMTP"),
    Hello: Reply(250, "mx.example.org"),
    Rcpt: Reply(250, "Recipient ok", "2.1.5"),
    Data: Reply(354, "End data with <CRLF>.<CRLF>"),
    EndOfData: Reply(250, "0123456789abcdef Message accepted for delivery", "2.0.0"),
}


def session(segments: list[bytes]) -> int:
    """One session.

    @return: octets said.
    """
    core = ServerCore(SETTINGS)
    said = 0
    for segment in segments:
        core.receive(segment)
        while not isinstance(event := core.nextEvent(), Idle):
            if event.asks:
                core.answer(ANSWERS.get(type(event), OK))
        said += len(core.output())
    return said


def body(data: bytes, piece: int) -> int:
    """C{data} through the finder of its end and the checks, in pieces.

    @return: octets of content.
    """
    reader, check = DataReader(), ContentCheck(1 << 32, 65_536, False)
    stored = 0
    for start in range(0, len(data), piece):
        content, _ = reader.feed(data[start : start + piece])
        stored += len(check.add(content))
    return stored


def bdat(data: bytes, chunk: int) -> int:
    """C{data} by BDAT.

    @return: octets of content.
    """
    core = ServerCore(SETTINGS)
    stored = 0
    commands = [b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"]
    for start in range(0, len(data), chunk):
        commands += [b"BDAT %d\r\n" % len(data[start : start + chunk]), data[start : start + chunk]]
    for octets in [b"", *commands]:
        core.receive(octets)
        while not isinstance(event := core.nextEvent(), Idle):
            if isinstance(event, Content):
                stored += len(event.data)
            elif event.asks:
                core.answer(ANSWERS.get(type(event), OK))
        core.output()
    return stored


def seconds(work: Callable[[], object], times: int, rounds: int = 5) -> float:
    """CPU seconds of one call: the median round."""
    taken = []
    for _ in range(rounds):
        start = process_time()
        for _ in range(times):
            work()
        taken.append((process_time() - start) / times)
    return median(taken)


def main() -> None:
    print(f"session, 4 KiB, one command a segment: {seconds(lambda: session(SEGMENTS), 2000) * 1e6:.1f} us")
    print(f"session, 4 KiB, pipelined:             {seconds(lambda: session(PIPELINED), 2000) * 1e6:.1f} us")
    text = LINE * (8_000_000 // len(LINE))
    stuffed = b"..dot\r\n" * (8_000_000 // 7)
    for name, data in (("text", text), ("every line stuffed", stuffed), ("one octet lines", b"x\r\n" * 2_700_000)):
        for piece in (4096, 65_536, 1 << 20):
            rate = len(data) / seconds(lambda data=data, piece=piece: body(data, piece), 1, 3) / 1e6  # type: ignore[misc]
            print(f"DATA, {name}, pieces of {piece}: {rate:.0f} MB/s")
    print(f"BDAT, text, chunks of 65536: {len(text) / seconds(lambda: bdat(text, 65_536), 1, 3) / 1e6:.0f} MB/s")


if __name__ == "__main__":
    main()
