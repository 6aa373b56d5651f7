"""TLS policy verdicts. Pure: what a connection established is held against what a message asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pysmtpd.model.facts import TlsFacts


class Level(IntEnum):
    """From weak to strong."""

    NEVER = 0
    OPPORTUNISTIC = 1
    REQUIRED = 2
    VERIFIED = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """
    @ivar name: what the peer's certificate has to be for, when the level is VERIFIED.
    """

    level: Level
    name: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection established.

    @ivar tls: None: plain text.
    @ivar tried: TLS was wished, and could not be had from this host.
    """

    tls: TlsFacts | None = None
    tried: bool = False


def satisfies(facts: Facts, policy: Policy) -> bool:
    """May a message under C{policy} use a connection with these facts?

    A verified connection serves a weaker policy. One that is not verified is never upgraded. One that is in plain text though nobody
    tried TLS (C{smtp+notls}) does not serve those who would have tried.
    """
    if policy.level is Level.NEVER:
        return True
    if facts.tls is None:
        return policy.level is Level.OPPORTUNISTIC and facts.tried
    if policy.level is Level.VERIFIED:
        return facts.tls.verified and facts.tls.peerName.lower() == policy.name.lower()
    return True
