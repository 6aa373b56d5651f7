"""Words of the language that are read and checked, but that no room honours yet.

The daemon does not start with one of them: what a configuration asks for is never left out in silence. A line goes when its room has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pysmtpd.model.config import Config
from pysmtpd.model.decision import Where

Finder = Callable[[Config], Iterable[Where]]


# What stands in the configuration, and where it does.
UNBUILT: Mapping[str, Finder] = {
    "proc": lambda config: [spec.where for spec in config.procs.values()],
    "filter": lambda config: [spec.where for spec in config.filters.values()],
}


def unbuilt(config: Config) -> tuple[tuple[str, Where], ...]:
    """The words that this configuration has and the daemon cannot honour yet, each with the first place where it stands."""
    found = ((word, min(places, key=_order)) for word, find in UNBUILT.items() if (places := list(find(config))))
    return tuple(sorted(found, key=lambda each: _order(each[1])))


def _order(where: Where) -> tuple[str, int, int]:
    return (where.file, where.line, where.column)
