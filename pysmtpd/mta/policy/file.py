"""What outlives a restart: small files in the spool that are replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.mta.smallfile import readWhole, replaceWhole

LANE = "tls-policy"

SAVE_DELAY = 5.0
"""Seconds for which changes are gathered. What a crash takes with it can be found out again."""


class KeptFile:
    """A JSON value that is written some seconds after it has changed."""

    def __init__(
        self,
        platform: IPlatform,
        path: str,
        value: Callable[[], object],
        told: Callable[[str], object],
        delay: float = SAVE_DELAY,
    ) -> None:
        """
        @param path: absolute.
        @param value: what is to be written, asked for at the last moment.
        @param told: hears why the file could not be read or written.
        """
        self._platform = platform
        self._path = path
        self._value = value
        self._told = told
        self._delay = delay
        self._saving: IDelayedCall | None = None

    def load(self, take: Callable[[Any], object]) -> Deferred[None]:
        """Hand what an earlier life has kept to C{take}, if there is anything. What C{take} cannot use it may raise as L{ValueError},
        L{TypeError}, L{KeyError} or L{AttributeError}: that is told, and the file is as good as empty. Never fails.
        """

        def loaded(content: bytes) -> None:
            if content:
                try:
                    take(json.loads(content))
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    self._tell(str(error))

        reading = self._platform.workers.run(LANE, readWhole, self._platform.disk, self._path)
        return reading.addCallbacks(loaded, lambda failure: self._tell(failure.getErrorMessage()))

    def changed(self) -> None:
        """Write it, soon."""
        if self._saving is None:
            self._saving = self._platform.clock.callLater(self._delay, self._write)

    def stop(self) -> Deferred[None] | None:
        """Write now what waits; fires when that is done."""
        if self._saving is None:
            return None
        self._saving.cancel()
        return self._write()

    def _write(self) -> Deferred[None]:
        self._saving = None
        content = json.dumps(self._value(), separators=(",", ":")).encode()
        writing = self._platform.workers.run(LANE, replaceWhole, self._platform.disk, self._path, content)
        return writing.addErrback(lambda failure: self._tell(failure.getErrorMessage()))

    def _tell(self, why: str) -> None:
        self._told(f"{self._path}: {why}")
