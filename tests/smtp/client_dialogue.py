"""Dialogues with a scripted server: C{S} is what the server says, C{C} what the core must write in answer, C{E} an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_events import ClientEvent, ClientSettings, Ended, Finished, OutgoingMail, OutgoingRcpt

Act = Callable[[ClientCore], "Sequence[ClientEvent] | None"]
Line = Union["tuple[str, str]", Act]
Script = Sequence[Line]

PLAIN = ClientSettings("me.test")


def mail(*recipients: str, **more: object) -> OutgoingMail:
    return OutgoingMail(
        "a@x.test",
        [OutgoingRcpt(recipient) for recipient in recipients],
        **{"size": 5, **more},  # type: ignore[arg-type]
    )


def told(event: ClientEvent) -> str:
    if isinstance(event, Finished):
        return " | ".join(str(reply) for reply in event.replies) + (" reached" if event.reached else "")
    if isinstance(event, Ended):
        return f"ended in {event.stage.value}: {event.reply}"
    return type(event).__name__


def octets(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


def play(script: Script, settings: ClientSettings = PLAIN, step: int = 1 << 20) -> ClientCore:
    """
    @param step: how many octets of what the server says the core gets at a time.
    """
    core = ClientCore(settings)
    events: list[str] = []
    for line in script:
        if callable(line):
            events += map(told, line(core) or ())
            continue
        who, text = line
        if who == "S":
            data = octets(text)
            for start in range(0, len(data), step):
                events += map(told, core.receive(data[start : start + step]))
        elif who == "C":
            written = core.output()
            assert written == octets(text), f"{written!r}, not {octets(text)!r}"
        else:
            assert events and events.pop(0) == text, f"{events!r} after {text!r}"
    assert not events, events
    assert not core.output()
    return core
