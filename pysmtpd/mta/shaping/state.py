"""What outlives a restart: suspensions, what buckets are owed, who has complained."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.mta.smallfile import readWhole, replaceWhole

LANE = "mta-limits"


@dataclass(slots=True)
class State:
    """Times are wall-clock seconds.

    @ivar suspended: names of destinations, and since when.
    @ivar buckets: by key, when everything is paid back.
    @ivar backoffs: by name: pace in seconds, last reply, when it came, when the first of the row came, how many.
    """

    suspended: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, float] = field(default_factory=dict)
    backoffs: dict[str, tuple[float, str, float, float, int]] = field(default_factory=dict)


def parseState(content: bytes) -> State:
    """
    @raise ValueError: it is not what L{formatState} writes.
    """
    if not content:
        return State()
    try:
        told = json.loads(content)
        return State(
            {str(name): float(since) for name, since in told["suspended"].items()},
            {str(key): float(paid) for key, paid in told["buckets"].items()},
            {
                str(name): (float(pace), str(reply), float(at), float(since), int(times))
                for name, (pace, reply, at, since, times) in told["backoffs"].items()
            },
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the state of limits: {error!r}") from error


def formatState(state: State) -> bytes:
    told = {"suspended": state.suspended, "buckets": state.buckets, "backoffs": state.backoffs}
    return json.dumps(told, separators=(",", ":")).encode()


class Keeper:
    """The file. Each state that is saved takes the place of the one before as a whole."""

    def __init__(self, platform: IPlatform, path: str) -> None:
        """
        @param path: absolute; empty: nothing is kept.
        """
        self._platform = platform
        self._path = path

    def load(self) -> Deferred[State]:
        """
        Fails with L{OSError} or L{ValueError} where there is a file that cannot be used.
        """
        if not self._path:
            return succeed(State())
        reading = self._platform.workers.run(LANE, readWhole, self._platform.disk, self._path)
        return reading.addCallback(parseState)

    def save(self, state: State) -> Deferred[None]:
        """Fires once it would outlast a power cut; fails with L{OSError}."""
        if not self._path:
            return succeed(None)
        return self._platform.workers.run(LANE, replaceWhole, self._platform.disk, self._path, formatState(state))
