"""How the root helper says no."""

from __future__ import annotations


class Refused(Exception):
    """Not this; the text tells the daemon's log."""
