"""How many sessions each generation of the configuration has."""

from __future__ import annotations

from collections.abc import Callable

from pysmtpd.model.config import Config


class Census:
    def __init__(self, empty: Callable[[], object]) -> None:
        """
        @param empty: called when the last session of a generation has gone.
        """
        self._empty = empty
        self._counts: dict[int, int] = {}

    def of(self, config: Config) -> int:
        return self._counts.get(id(config), 0)

    def came(self, config: Config) -> None:
        self._counts[id(config)] = self._counts.get(id(config), 0) + 1

    def went(self, config: Config) -> None:
        left = self._counts[id(config)] - 1
        if left:
            self._counts[id(config)] = left
        else:
            del self._counts[id(config)]
            self._empty()
