"""A state machine drives the server core with arbitrary segments, against a model that knows nothing of octets."""

from __future__ import annotations

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import (
    CLOSED,
    Connect,
    Content,
    ContentRefused,
    Data,
    EndOfData,
    Hangup,
    Idle,
    Mail,
    Rcpt,
    Reset,
    ServerSettings,
    StartTls,
)
from pysmtpd.smtp.server import ServerCore

MAX_SIZE = 40
MAX_RCPT = 3
SETTINGS = ServerSettings("mx", starttls=True, maxSize=MAX_SIZE, maxRcpt=MAX_RCPT, maxErrors=10_000, maxCommands=10_000)
TOKENS = (b"\r\n", b"\r\n", b"\n", b"\r", b".", b"..", b"abc", b"QUIT\r\n", b"\xff", b"\0")
TEXT = st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join)
VERDICT = st.sampled_from(("ok", "ok", "550", "450"))
CODES = {"ok": 250, "550": 550, "450": 450}


class Session(RuleBasedStateMachine):
    """Each rule sends something and says what must come of it; the octets go in cut at random, some of them later."""

    def __init__(self) -> None:
        super().__init__()
        self.core = ServerCore(SETTINGS)
        self.unsent = b""
        self.expected: list[int] = []
        self.said = b""
        # The owner's side: what was stored, and what is being received.
        self.stored: list[bytes] = []
        self.content = b""
        self.handshakes = 0
        # The model.
        self.messages: list[bytes] = []
        self.hello = False
        self.sender = False
        self.tried = False
        self.recipients = 0
        self.chunks: bytes | None = None
        self.closed = False

    @initialize()
    def connect(self) -> None:
        self.expected.append(220)
        self.run()

    # --- the owner

    def run(self) -> None:
        while not isinstance(event := self.core.nextEvent(), Idle):
            if isinstance(event, Content):
                self.content += event.data
            elif isinstance(event, ContentRefused | Reset):
                self.content = b""
            elif isinstance(event, StartTls):
                self.core.answer(Reply(220, "TLS"))
                self.said += self.core.output()
                self.core.tlsStarted()
                self.handshakes += 1
            elif isinstance(event, EndOfData):
                assert event.size == len(self.content)
                self.stored.append(self.content)
                self.content = b""
                self.core.answer(Reply(250, "Ok"))
            elif event.asks:
                code = 220 if isinstance(event, Connect) else 354 if isinstance(event, Data) else 250
                if isinstance(event, Mail | Rcpt) and event.path.local in CODES:
                    code = CODES[event.path.local]
                self.core.answer(Reply(code, "text"))
            else:
                assert not isinstance(event, Hangup)
        self.said += self.core.output()

    def send(self, octets: bytes, *codes: int) -> None:
        if not self.closed:
            self.unsent += octets
            self.expected.extend(codes)

    def flush(self) -> None:
        self.core.receive(self.unsent)
        self.unsent = b""
        self.run()

    @rule(lengths=st.lists(st.integers(1, 30), max_size=8))
    def transmit(self, lengths: list[int]) -> None:
        for length in lengths:
            segment, self.unsent = self.unsent[:length], self.unsent[length:]
            self.core.receive(segment)
            self.run()

    # --- commands and the model

    def reset(self) -> None:
        self.sender = self.tried = False
        self.recipients = 0
        self.chunks = None

    @precondition(lambda self: not self.closed)
    @rule(verb=st.sampled_from((b"HELO", b"EHLO", b"ehlo")))
    def sayHello(self, verb: bytes) -> None:
        self.send(verb + b" client.example\r\n", 250)
        self.hello = True
        self.reset()

    @rule(verdict=VERDICT, arguments=st.sampled_from((b"", b" SIZE=3", b" BODY=8BITMIME")))
    def mail(self, verdict: str, arguments: bytes) -> None:
        possible = self.hello and not self.sender
        self.send(
            b"MAIL FROM:<%b@a.example>%b\r\n" % (verdict.encode(), arguments), CODES[verdict] if possible else 503
        )
        self.sender = self.sender or (possible and verdict == "ok")

    @rule(verdict=VERDICT)
    def rcpt(self, verdict: str) -> None:
        possible = self.sender and self.chunks is None
        code = 503
        if possible:
            self.tried = True
            code = CODES[verdict] if self.recipients < MAX_RCPT else 452
        self.send(b"RCPT TO:<%b@b.example>\r\n" % verdict.encode(), code)
        self.recipients += code == 250

    def refusal(self) -> int:
        """To DATA, and to BDAT when there is no recipient."""
        return 554 if self.sender and self.tried and not self.recipients else 503

    @rule(text=TEXT)
    def data(self, text: bytes) -> None:
        if not self.recipients or self.chunks is not None:
            self.send(b"DATA\r\n", self.refusal() if self.chunks is None else 503)
            return
        octets = text + b"\r\n.\r\n"
        # One true end only: what comes behind it would be commands.
        octets = octets[: (b"\r\n" + octets).index(b"\r\n.\r\n") + 3]
        lines = octets[:-3].split(b"\r\n")[:-1]
        content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
        self.send(b"DATA\r\n" + octets, 354, self.verdict(content, isLast=True))
        self.reset()

    @rule(text=TEXT, isLast=st.booleans())
    def bdat(self, text: bytes, isLast: bool) -> None:
        octets = b"BDAT %d%b\r\n%b" % (len(text), b" LAST" if isLast else b"", text)
        if not self.recipients:
            self.send(octets, self.refusal())
            return
        content = (self.chunks or b"") + text
        if isLast and content and not content.endswith(b"\r\n"):
            content += b"" if content.endswith(b"\r") else b"\r\n"
        code = self.verdict(content, isLast)
        self.send(octets, code)
        if isLast or code != 250:
            self.reset()
        else:
            self.chunks = content

    def verdict(self, content: bytes, isLast: bool) -> int:
        if not isLast and content.endswith(b"\r"):
            # It may become a CRLF yet, and counts when it does.
            content = content[:-1]
        if len(content) > MAX_SIZE:
            return 552
        if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
            return 554
        if isLast and not self.closed:
            self.messages.append(content)
        return 250

    @rule()
    def rset(self) -> None:
        self.send(b"RSET\r\n", 250)
        self.reset()

    @rule(line=st.sampled_from((b"NOOP x", b"VRFY x", b"HELP", b"EXPN x", b"XXXX", b"", b"MAIL x", b"DATA x")))
    def other(self, line: bytes) -> None:
        codes = {b"NOOP x": 250, b"VRFY x": 250, b"HELP": 214, b"EXPN x": 502, b"MAIL x": 501, b"DATA x": 501}
        code = codes.get(line, 500)
        if line == b"MAIL x" and (not self.hello or self.sender):
            code = 503
        if line == b"DATA x" and (not self.recipients or self.chunks is not None):
            code = self.refusal() if self.chunks is None else 503
        self.send(line + b"\r\n", code)

    @precondition(lambda self: not self.closed and self.hello and not self.handshakes)
    @rule()
    def startTls(self) -> None:
        # The client waits, as it must; what it had not sent is sent first.
        self.flush()
        self.send(b"STARTTLS\r\n", 220)
        self.flush()
        self.hello = False
        self.reset()

    @precondition(lambda self: not self.closed)
    @rule(hurry=st.integers(0, 9))
    def quit(self, hurry: int) -> None:
        if hurry:
            return
        self.send(b"QUIT\r\n", 221)
        self.closed = True

    # --- what must hold

    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.said.split(b"\r\n") if line and line[3:4] == b" "]

    @invariant()
    def nothingIsSaidThatIsNotDue(self) -> None:
        said = self.codes()
        assert said == self.expected[: len(said)], (said, self.expected)
        assert self.stored == self.messages[: len(self.stored)]

    def teardown(self) -> None:
        self.flush()
        assert self.codes() == self.expected, (self.codes(), self.expected)
        assert self.stored == self.messages
        assert (self.core.nextEvent() is CLOSED) == self.closed


class MachineTests(SynchronousTestCase):
    def test_theCoreDoesWhatTheModelDoes(self) -> None:
        run_state_machine_as_test(Session, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))
