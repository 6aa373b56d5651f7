"""One event of each class, filled by the types of its fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

from pysmtpd.model import events
from pysmtpd.model.events import Event
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId

KINDS: list[type[Event]] = [
    value
    for _, value in sorted(vars(events).items())
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
]

VALUES: dict[Any, Any] = {
    SessionId: SessionId(0x4D2),
    MessageId: MessageId(0xABC),
    EnvelopeId: EnvelopeId(0xABC00000001),
    str: "word",
    bool: True,
    int: 7,
    float: 1.5,
}


def sample(kind: type[Event], **given: Any) -> Event:
    hints = get_type_hints(kind)
    values = {field.name: VALUES[hints[field.name]] for field in fields(kind)}
    if "agent" in values:
        values["agent"] = "mta"
    if "result" in values and kind is events.DeliveryAttempted:
        values["result"] = "Ok"
    return kind(**(values | given))
