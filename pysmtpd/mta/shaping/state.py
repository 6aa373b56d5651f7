"""What outlives a restart: suspensions, what buckets are owed, who has complained."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed

from pysmtpd.interfaces.platform import IDisk, IPlatform

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
        reading = self._platform.workers.run(LANE, _read, self._platform.disk, self._path)
        return reading.addCallback(parseState)

    def save(self, state: State) -> Deferred[None]:
        """Fires once it would outlast a power cut; fails with L{OSError}."""
        if not self._path:
            return succeed(None)
        return self._platform.workers.run(LANE, _replace, self._platform.disk, self._path, formatState(state))


def _read(disk: IDisk, path: str) -> bytes:
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return b""
    parts = []
    try:
        while part := file.read(1 << 20):
            parts.append(part)
    finally:
        file.close()
    return b"".join(parts)


def _replace(disk: IDisk, path: str, content: bytes) -> None:
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        disk.unlink(new)
    file = disk.create(new)
    try:
        file.write(content)
        file.sync()
    finally:
        file.close()
    disk.rename(new, path)
    disk.syncDirectory(path.rpartition("/")[0])
