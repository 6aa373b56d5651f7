r"""SMTP dialogues as files that a postmaster can read, replayed against the server core octet by octet.

A file is a sequence of lines, each a word, its marker, and a text::

    # A comment. Blank lines are ignored.
    set starttls                  a setting of the session, before anything else; see below
    S: 220 mx.example.org ESMTP   the server says this line
    C: EHLO client.example.org    the client sends this line and CRLF
    C! a\r\nb\x00                 the client sends exactly these octets, with \r \n \t \\ \xHH
    C* 3000 x                     the client sends the octets 3000 times
    TLS                           the handshake is done
    M: Subject: hello             a line of the message that was accepted just before, as it is stored
    M! raw\xff                    the same, exact octets
    E: Refused AUTH PLAIN         an event that the core told its owner since the last E: or S: line
    HANGUP 421 4.3.2 Going down   the owner ends the session out of turn
    CLOSED                        the session is over

All client lines up to the next other line are one segment. Then the server must say exactly what the S: lines that follow say, no octet
more or less. C{S!} is to C{S:} as C{C!} is to C{C:}.

Settings: C{starttls}, C{tls} (TLS from the first octet), C{tls-required}, C{auth MECHANISMS}, C{auth-required}, C{auth-without-tls},
C{lmtp}, C{no-dsn}, C{normalise}, and with a number C{max-size}, C{max-mails}, C{max-rcpt}, C{max-errors}, C{max-commands}, C{max-line},
C{max-text-line}. C{xclient ATTRIBUTE ...} offers XCLIENT. C{greeting CODE TEXT} is what Connect is answered.

The owner in a dialogue accepts everything, but: a sender or recipient whose local part is a reply code (C{<550@example.org>}) gets it;
so does the content, if C{data CODE TEXT} or C{end CODE TEXT} was set, and under LMTP a recipient whose domain begins with a code
(C{<a@450.example.org>}); only user C{alice} with password C{secret} may log in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pysmtpd.model.config import BareNewline
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import (
    CLOSED,
    Authenticate,
    Connect,
    Content,
    ContentRefused,
    Data,
    EndOfData,
    Event,
    Hangup,
    Hello,
    Idle,
    Mail,
    Rcpt,
    Refused,
    Reset,
    ServerSettings,
    StartTls,
    Verify,
    Xclient,
)
from pysmtpd.smtp.server import ServerCore

# Cuts a group of client octets into segments.
Segmentation = Callable[[bytes], Sequence[bytes]]

_HOSTNAME: Final = "mx.example.org"
_FLAGS: Final[dict[str, dict[str, Any]]] = {
    "starttls": {"starttls": True},
    "tls-required": {"tlsRequired": True},
    "auth-required": {"authRequired": True},
    "auth-without-tls": {"authWithoutTls": True},
    "lmtp": {"lmtp": True},
    "no-dsn": {"dsn": False},
    "normalise": {"bareNewline": BareNewline.NORMALISE},
}
_NUMBERS: Final = {
    "max-size": "maxSize",
    "max-mails": "maxMails",
    "max-rcpt": "maxRcpt",
    "max-errors": "maxErrors",
    "max-commands": "maxCommands",
    "max-line": "maxLineLength",
    "max-text-line": "maxTextLine",
}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES: Final = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


class DialogueError(ValueError):
    """A dialogue file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    @ivar kind: send, expect, event, message, tls, hangup or closed.
    @ivar octets: what is sent, must be said, or must be stored; for an event, its text.
    @ivar line: where it begins in the file.
    """

    kind: str
    octets: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Dialogue:
    """
    @ivar xclient: attributes of XCLIENT that the client may give.
    @ivar greeting: what Connect, and XCLIENT, is answered.
    @ivar data: what Data is answered; None: 354.
    @ivar end: what EndOfData is answered; None: 250.
    """

    name: str
    settings: ServerSettings
    steps: tuple[Step, ...]
    implicitTls: bool = False
    xclient: tuple[str, ...] = ()
    greeting: Reply = Reply(220, f"{_HOSTNAME} ESMTP")
    data: Reply | None = None
    end: Reply | None = None


def parseDialogue(name: str, text: str) -> Dialogue:
    """
    @param name: for error messages, such as the file's name.
    @raise DialogueError: with C{name:line}.
    """
    dialogue = Dialogue(name, ServerSettings(_HOSTNAME), ())
    steps: list[Step] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        try:
            if word == "set":
                dialogue = _set(dialogue, rest)
            else:
                _append(steps, Step(*_parseStep(word, rest), number))
        except (ValueError, KeyError) as error:
            raise DialogueError(f"{name}:{number}: {error}") from error
    return replace(dialogue, steps=tuple(steps))


def _set(dialogue: Dialogue, text: str) -> Dialogue:
    word, _, value = text.strip().partition(" ")
    settings = dialogue.settings
    if word in _FLAGS:
        return replace(dialogue, settings=replace(settings, **_FLAGS[word]))
    if word in _NUMBERS:
        numbers: dict[str, Any] = {_NUMBERS[word]: int(value)}
        return replace(dialogue, settings=replace(settings, **numbers))
    if word == "auth":
        return replace(dialogue, settings=replace(settings, authMechanisms=tuple(value.split())))
    if word == "xclient":
        return replace(dialogue, xclient=tuple(value.split()))
    if word == "tls":
        return replace(dialogue, implicitTls=True)
    if word in ("greeting", "data", "end"):
        answers: dict[str, Any] = {word: _parseReply(value)}
        return replace(dialogue, **answers)
    raise ValueError(f"no such setting: {word}")


def _parseReply(text: str) -> Reply:
    code, _, rest = text.partition(" ")
    enhanced, _, words = rest.partition(" ")
    if re.fullmatch(r"[245]\.\d+\.\d+", enhanced):
        return Reply(int(code), words, enhanced)
    return Reply(int(code), rest)


def _parseStep(word: str, rest: str) -> tuple[str, bytes]:
    if word in ("C:", "S:", "M:"):
        return {"C:": "send", "S:": "expect", "M:": "message"}[word], rest.encode() + b"\r\n"
    if word in ("C!", "S!", "M!"):
        return {"C!": "send", "S!": "expect", "M!": "message"}[word], _unescape(rest)
    if word == "C*":
        count, _, octets = rest.partition(" ")
        return "send", _unescape(octets) * int(count)
    if word == "E:":
        return "event", rest.encode()
    if word in ("TLS", "CLOSED", "HANGUP"):
        return word.lower(), rest.encode()
    raise ValueError(f"no such line: {word}")


def _unescape(text: str) -> bytes:
    def character(found: re.Match[str]) -> str:
        escape = found.group(1)
        return chr(int(escape[1:], 16)) if len(escape) == 3 else _ESCAPES[escape]

    return _ESCAPE.sub(character, text).encode("latin-1")


def _append(steps: list[Step], step: Step) -> None:
    """Neighbours of one kind are one step: one segment, one answer, one message."""
    if steps and steps[-1].kind == step.kind and step.kind in ("send", "expect", "message"):
        last = steps.pop()
        step = Step(step.kind, last.octets + step.octets, last.line)
    steps.append(step)


def whole(octets: bytes) -> Sequence[bytes]:
    """One segment."""
    return (octets,)


def octetByOctet(octets: bytes) -> Sequence[bytes]:
    """As many segments as octets."""
    return [octets[index : index + 1] for index in range(len(octets))]


class Owner:
    """What a core's owner does, in memory: it answers what is asked and keeps what it is told.

    @ivar told: events that do not ask, as text, content excepted.
    @ivar stored: the messages that were accepted.
    """

    def __init__(self, dialogue: Dialogue, core: ServerCore) -> None:
        self._dialogue = dialogue
        self._core = core
        self._content = bytearray()
        self._recipients: list[Rcpt] = []
        self.told: list[str] = []
        self.stored: list[bytes] = []

    def run(self) -> bytes:
        """Take every event that is there.

        @return: what the core says.
        """
        while not isinstance(event := self._core.nextEvent(), Idle):
            if isinstance(event, Content):
                self._content += event.data
            elif event.asks:
                self._answer(event)
            else:
                self.told.append(_describe(event))
                if isinstance(event, ContentRefused | Reset):
                    self._forget()
        return self._core.output()

    def _answer(self, event: Event) -> None:
        core, dialogue = self._core, self._dialogue
        if isinstance(event, EndOfData):
            accepted = self._recipients
            reply = dialogue.end or Reply(250, "Message accepted", "2.0.0")
            if reply.isPositive:
                self.stored.append(bytes(self._content))
            self._forget()
            if dialogue.settings.lmtp and reply.isPositive:
                core.answerEach([_verdict(rcpt.path.domain.split(".")[0]) or reply for rcpt in accepted])
                return
        elif isinstance(event, Rcpt):
            reply = _verdict(event.path.local) or Reply(250, "Recipient ok", "2.1.5")
            if reply.isPositive:
                self._recipients.append(event)
        elif isinstance(event, Mail):
            self._forget()
            reply = _verdict(event.path.local) or Reply(250, "Sender ok", "2.1.0")
        elif isinstance(event, Authenticate):
            known = event.user == "alice" and event.password == b"secret"
            reply = (
                Reply(235, "Welcome", "2.7.0") if known else Reply(535, "Authentication credentials invalid", "5.7.8")
            )
        else:
            reply = {
                Connect: dialogue.greeting,
                Xclient: dialogue.greeting,
                Hello: Reply(250, f"{_HOSTNAME} greets you"),
                StartTls: Reply(220, "Ready to start TLS", "2.0.0"),
                Data: dialogue.data or Reply(354, "End data with <CR><LF>.<CR><LF>"),
                Verify: Reply(252, "Cannot verify, but will try", "2.1.5"),
            }[type(event)]
        core.answer(reply)

    def _forget(self) -> None:
        self._content.clear()
        self._recipients = []


def _verdict(word: str) -> Reply | None:
    """A name of three digits asks for that reply."""
    if re.fullmatch(r"[45]\d\d", word):
        return Reply(int(word), "As you wish", f"{word[0]}.1.0" if word != "421" else "4.3.2")
    return None


def _describe(event: Event) -> str:
    if isinstance(event, Refused):
        return f"Refused {event.command} -> {event.reply}"
    if isinstance(event, ContentRefused):
        return f"ContentRefused {event.reply.code}"
    return f"Hangup {event.reason}" if isinstance(event, Hangup) else type(event).__name__


def replay(dialogue: Dialogue, segmentation: Segmentation = whole) -> Iterator[str]:
    """Have the conversation.

    @return: each difference, as C{name:line: what was expected and what came}; nothing when all went as it is written.
    """
    core = ServerCore(dialogue.settings)
    core.offerXclient(dialogue.xclient)
    if dialogue.implicitTls:
        core.tlsStarted()
    owner = Owner(dialogue, core)
    said = owner.run()
    for step in dialogue.steps:
        expected: object = step.octets
        found: object = step.octets
        if step.kind == "expect":
            found, said = said, b""
        elif said:
            expected, found, said = b"", said, b""
        elif step.kind == "event":
            found = (owner.told.pop(0) if owner.told else "nothing").encode()
        elif step.kind == "message":
            found = owner.stored[-1] if owner.stored else "no message"
        elif step.kind == "closed":
            expected, found = CLOSED, core.nextEvent()
        if expected != found:
            yield f"{dialogue.name}:{step.line}: expected {expected!r}, found {found!r}"
            return
        if step.kind == "send":
            owner.told.clear()
            for segment in segmentation(step.octets):
                core.receive(segment)
                said += owner.run()
        elif step.kind == "tls":
            core.tlsStarted()
            said = owner.run()
        elif step.kind == "hangup":
            core.hangup(_parseReply(step.octets.decode()))
            said = owner.run()
    if said:
        yield f"{dialogue.name}: after its end: {said!r}"
