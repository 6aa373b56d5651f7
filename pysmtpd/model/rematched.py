"""What asking the rules again has found."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.model.ids import EnvelopeId


@dataclass(frozen=True, slots=True)
class Rematched:
    """An envelope that the rules would treat in another way today.

    @ivar action: of today; empty: none, it is held.
    @ivar hold: why it is held; empty: it is not.
    @ivar isBusy: it was being delivered, and has not changed.
    """

    envelope: EnvelopeId
    address: str
    oldAction: str
    oldRule: str
    action: str
    rule: str
    hold: str = ""
    isBusy: bool = False
