"""From the text of smtpd.conf to one frozen L{Config}."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from posixpath import dirname, join, normpath

from pysmtpd.config.build import build
from pysmtpd.config.check import check
from pysmtpd.config.draft import Draft
from pysmtpd.config.environment import Environment
from pysmtpd.config.lexer import Lexer
from pysmtpd.config.parser import Directive, parse
from pysmtpd.config.problem import Problems
from pysmtpd.model.config import NOWHERE, BackendSpec, Config, TableSpec
from pysmtpd.model.decision import Where

MAX_INCLUDES = 16
MAX_FILES = 1000

_MACRO_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


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
        self._defines = defines
        self._macros: dict[str, str] = dict(defines)
        self._macroPlaces: dict[str, Where] = {}
        self._usedMacros: set[str] = set()
        self.problems = Problems()
        self._files = 0
        self._draft = Draft(environment, self.problems)
        self._draft.tables.update(implicitTables(environment))

        self._readInto(self._path, Where(self._path, 1), ())
        check(self._draft, self._path)
        for name, where in self._macroPlaces.items():
            if name not in self._usedMacros:
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
        path = normpath(path)
        self._files += 1
        if self._files > MAX_FILES:
            self.problems.add(place, f"more than {MAX_FILES} files are included")
            return
        if path in within:
            self.problems.add(place, f'"{path}" includes itself')
            return
        if len(within) >= MAX_INCLUDES:
            self.problems.add(place, f"files are included more than {MAX_INCLUDES} deep")
            return
        try:
            text = self._readFile(path)
        except OSError as error:
            self.problems.add(place, f'cannot read "{path}": {error.strerror or error}')
            return
        except UnicodeDecodeError as error:
            self.problems.add(place, f'"{path}" is not UTF-8 (octet {error.start})')
            return
        self.problems.addFile(path, text)
        if "\r\n" in text:
            line = text.count("\n", 0, text.index("\r\n")) + 1
            self.problems.add(
                Where(path, line), "lines end with carriage return and line feed; a line feed alone must stand there"
            )
            text = text.replace("\r\n", "\n")
        lexer = Lexer(path, text, self._macros, self._usedMacros, self.problems)
        while (lexemes := lexer.nextLine()) is not None:
            directive = parse(lexemes, self.problems)
            if directive is None:
                continue
            match str(directive.tree.data):
                case "macro":
                    self._define(directive)
                case "include":
                    name = str(directive.tree.children[0])
                    self._readInto(join(dirname(path), name), directive.where(directive.tree), (*within, path))
                case _:
                    build(self._draft, directive)

    def _define(self, directive: Directive) -> None:
        name, value = (str(child) for child in directive.tree.children)
        where = directive.where(directive.tree)
        if any(character.isspace() for character in name[1:]):
            self.problems.add(where, "the name of a macro holds no blanks")
            return
        if not _MACRO_NAME.match(name):
            self.problems.warn(where, f'macro "{name}" cannot be used: its name has more than letters, digits and _')
            return
        self._macroPlaces[name] = where
        if name not in self._defines:
            self._macros[name] = value


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
