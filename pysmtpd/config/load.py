"""From the text of smtpd.conf to one frozen L{Config}."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from posixpath import dirname, join, normpath

from pysmtpd.config.build import build
from pysmtpd.config.check import check
from pysmtpd.config.draft import Draft
from pysmtpd.config.environment import Environment
from pysmtpd.config.lexer import Lexer
from pysmtpd.config.macros import Macros, canBeUsed
from pysmtpd.config.parser import Directive, parse
from pysmtpd.config.problem import Finding, Problems
from pysmtpd.config.token import Token
from pysmtpd.model.config import NOWHERE, BackendSpec, Config, TableSpec
from pysmtpd.model.decision import Where

MAX_INCLUDES = 100
MAX_FILES = 1000

_BYTE_ORDER_MARK = "\ufeff"
# The two of UTF-16, and a NUL, where octets that are not UTF-8 become surrogates.
_OTHER_ENCODINGS = ("\udcff\udcfe", "\udcfe\udcff", "l\0", "\0l")


def load(
    path: str,
    readFile: Callable[[str], str],
    environment: Environment,
    defines: Mapping[str, str] | None = None,
) -> Config:
    """Read, parse and check a configuration.

    Nothing is touched but what is handed in, and nothing blocks but that.

    @param path: the main file. A relative name in C{include} counts from the directory of the file that says it.
    @param readFile: gives the text of a file, or raises L{OSError} or L{UnicodeDecodeError}.
    @param defines: macros that win over those of the file (C{-D name=value}).
    @raise ConfigErrors: with every problem of the file and of what it includes.
    """
    reading = Reading(path, readFile, environment, defines or {})
    reading.problems.raiseIfAny()
    return reading.config()


class Reading:
    """A configuration that was read, with all that was found in it.

    @ivar problems: what is wrong, and what to be warned of.
    """

    def __init__(
        self, path: str, readFile: Callable[[str], str], environment: Environment, defines: Mapping[str, str]
    ) -> None:
        self._path = path
        self._readFile = readFile
        self._macros = Macros(defines)
        self.problems = Problems()
        self._files = 0
        self._draft = Draft(environment, self.problems)
        self._draft.tables.update(implicitTables(environment))

        self._readInto(self._path, Where(self._path, 1), ())
        check(self._draft, self._path)
        if not self.problems.found(Finding.LANGUAGE, Finding.CHECK):
            for name, where in self._macros.unused():
                self.problems.warn(where, f'macro "{name}" is never used')

    def config(self) -> Config:
        """What there is of it; it can be used where there is no problem of any kind."""
        draft = self._draft
        return Config(
            file=self._path,
            serverName=draft.environment.serverName,
            localAddresses=draft.environment.localAddresses,
            listeners=tuple(draft.listeners),
            socket=draft.socket,
            pki=draft.pki,
            ca=draft.ca,
            tables=draft.tables,
            actions=draft.actions,
            rules=tuple(draft.rules),
            wrappers=draft.wrappers,
            procs=draft.procs,
            filters=draft.filters,
            srs=draft.srs if draft.srs.key else None,
            bounceWarn=draft.bounceWarn,
            admd=draft.admd,
            ciphers=draft.ciphers,
            smtp=draft.smtp,
            mta=draft.mta,
            mtaDomains=draft.mtaDomains,
            mtaRates=tuple(draft.mtaRates),
            mtaProviders=draft.mtaProviders,
            mda=draft.mda,
            scheduler=draft.scheduler,
            queue=draft.queue,
            maxDeferred=draft.maxDeferred,
            queueCompression=draft.queueCompression,
            queueEncryption=draft.queueEncryption,
            queueBackupKey=draft.queueBackupKey,
            queueBackend=draft.backends.get("queue", BackendSpec("sqlite")),
            schedulerBackend=draft.backends.get("scheduler", BackendSpec("ram")),
            statBackend=draft.backends.get("stat", BackendSpec("ram")),
            resolver=draft.resolver,
            allowLocalMx=draft.allowLocalMx,
            bounceSigned8bit=draft.bounceSigned8bit,
            subAddressDelimiter=draft.subAddressDelimiter,
            warnings=tuple(self.problems.warnings),
            places=draft.places,
        )

    def _readInto(self, path: str, place: Where, within: tuple[str, ...]) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            self.problems.add(place, f"more than {MAX_FILES} files are included")
            return
        if normpath(path) in within:
            self.problems.add(place, f'"{path}" includes itself')
            return
        if len(within) >= MAX_INCLUDES:
            self.problems.add(place, f"files are included more than {MAX_INCLUDES} deep")
            return
        try:
            text = self._readFile(path)
        except OSError as error:
            pattern = "; each file has a line of its own, patterns are not expanded" if "*" in path else ""
            self.problems.add(place, f'cannot read "{path}": {error.strerror or error}{pattern}')
            return
        except UnicodeDecodeError as error:
            self.problems.add(place, f'"{path}" is not UTF-8 (octet {error.start})')
            return
        lexer = Lexer(path, self._plain(path, text), self._macros, self.problems, self._spoil)
        while (lexemes := lexer.nextLine()) is not None:
            directive = parse(lexemes, self.problems)
            if directive is None:
                self._spoil(lexemes)
                continue
            match str(directive.tree.data):
                case "macro":
                    self._define(directive)
                case "include":
                    self._include(directive, path, within)
                case _:
                    build(self._draft, directive)

    def _spoil(self, lexemes: Sequence[Token]) -> None:
        """A line was refused: what it would have declared is not missed by others."""
        if len(lexemes) > 1 and lexemes[1].text == "=":
            self._macros.lost.add(lexemes[0].text)
        self._draft.spoil(lexemes)

    def _plain(self, path: str, text: str) -> str:
        """The text as the lexer takes it: what editors of other systems add is told once, and not met again in each line."""
        if text.startswith(_OTHER_ENCODINGS):
            self.problems.addFile(path, "")
            self.problems.add(Where(path, 1), "this is not UTF-8: save the file as UTF-8, or as ASCII")
            return ""
        hasMark = text.startswith(_BYTE_ORDER_MARK)
        text = text.removeprefix(_BYTE_ORDER_MARK)
        self.problems.addFile(path, text)
        if hasMark:
            self.problems.add(
                Where(path, 1), "the file begins with a byte order mark (U+FEFF): save it as UTF-8 without one"
            )
        if "\r\n" not in text:
            return text
        for number, line in enumerate(text.split("\n"), 1):
            # One at the end of a comment belongs to it.
            if line.endswith("\r") and not line.lstrip(" \t").startswith("#"):
                self.problems.add(
                    Where(path, number, len(line)),
                    "lines end with carriage return and line feed, and a line feed alone must stand there: "
                    f"sed -i 's/\\r$//' {path}",
                )
                break
        return text.replace("\r\n", "\n")

    def _include(self, directive: Directive, path: str, within: tuple[str, ...]) -> None:
        token = directive.tree.children[0]
        self._readInto(join(dirname(path), str(token)), directive.where(token), (*within, normpath(path)))

    def _define(self, directive: Directive) -> None:
        name, value = (str(child) for child in directive.tree.children)
        where = directive.where(directive.tree)
        try:
            self._macros.define(name, value, where)
        except ValueError as error:
            self.problems.add(where, str(error))
            return
        if not canBeUsed(name):
            self.problems.warn(where, f'macro "{name}" cannot be used: its name has more than letters, digits and _')


def implicitTables(environment: Environment) -> dict[str, TableSpec]:
    """The tables that every configuration has."""
    addresses = tuple(dict.fromkeys(environment.localAddresses))
    literals = [f"[IPv6:{address}]" if ":" in address else f"[{address}]" for address in addresses]
    shortName = environment.serverName.partition(".")[0]
    content = {
        "<anydestination>": ["*", shortName],
        "<anyhost>": ["local", "0.0.0.0/0", "::/0"],
        "<localhost>": ["local", *addresses],
        "<localnames>": ["localhost", environment.serverName, *addresses, *literals],
    }
    return {
        name: TableSpec(name, BackendSpec("static"), tuple((key, "") for key in keys if key), False, NOWHERE)
        for name, keys in content.items()
    }
