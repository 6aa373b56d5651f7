"""Tables and other backends, as the configuration states them."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.model.decision import Where

NOWHERE = Where("built-in", 0)


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend as it is written: C{"name:argument"}."""

    name: str
    argument: str = ""
    where: Where = NOWHERE

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """
    @ivar entries: of an inline table: C{(key, value)}; the value is empty in a list.
    @ivar isMap: an inline table of C{key = value}.
    @ivar allowCommands: C{allow-commands}: what it gives may name commands, files and includes, wherever it lies.
    """

    name: str
    backend: BackendSpec
    entries: tuple[tuple[str, str], ...] = ()
    isMap: bool = False
    where: Where = NOWHERE
    allowCommands: bool = False


@dataclass(frozen=True, slots=True)
class TableRef:
    """Where the language takes a table: its name. Inline ones are C{<dynamic:...>}, by what they hold."""

    name: str
    regex: bool = False
