"""When a delivery that failed for now is tried again. Pure."""

from __future__ import annotations

from math import ceil, sqrt

from pysmtpd.model.schedule import Kind

# Seconds; OpenSMTPD's. The step-th try comes at base * step**2 after the beginning.
BASES = {Kind.MTA: 400.0, Kind.MDA: 10.0, Kind.BOUNCE: 10.0}


def nextTry(kind: Kind, created: float, tries: int, now: float) -> float:
    """The time of the next try: of C{created + base * step**2}, from the step of C{tries} on, the first that is in the future.

    For the mta that is 6m40, 26m40, 1h, 1h47, 2h47 ... after acceptance; for the mda and for bounces 10 s, 40 s, 90 s, 160 s ...

    @param created: wall-clock seconds, as are C{now} and the answer.
    @param tries: attempts made so far.
    """
    base = BASES.get(kind, BASES[Kind.MTA])
    step = max(tries, 0)
    if created + base * step * step <= now:
        # Where the first future step must be, less one for rounding.
        step = max(step, ceil(sqrt((now - created) / base)) - 1)
        while created + base * step * step <= now:
            step += 1
    return created + base * step * step
