"""When somebody counts as slow. Seconds."""

from __future__ import annotations

PATIENCE = 2.0
"""For one reply."""

PRESSED = 1.0
"""For one reply, while hosts of which nothing bad is known wait for a place."""

COMING_UP = 3.0
"""From the first packet until a transaction may start."""

TRANSACTION = 3.0
"""For a transaction."""

RATE = 65536
"""Octets of content that add one second to it."""

REMEMBERED = 3600.0
"""For which it is remembered of a host that it was slow."""

TURN = 120.0
"""For which a slow host may keep a connection while others of its lane wait; it ends after a transaction only."""
