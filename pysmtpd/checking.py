"""C{pysmtpd -n}: all that can be said of a configuration without running it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from pysmtpd.analysing import Sights, analyse, look, unroutable
from pysmtpd.backends import NoSuchBackend, findBackend
from pysmtpd.config.inspect import Machine, inspect
from pysmtpd.config.load import Reading
from pysmtpd.config.problem import Finding, Problem, Problems
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.exitcodes import EX_CONFIG, EX_OK, EX_OSFILE
from pysmtpd.generations import makeTables
from pysmtpd.interfaces import IPlatform, ITable, Updated
from pysmtpd.model.config import Config, PkiSpec, TableSpec
from pysmtpd.model.question import Service, UserInfo
from pysmtpd.model.table import NOWHERE
from pysmtpd.platform.files import RealFiles
from pysmtpd.privilege import password
from pysmtpd.reading import readOctets
from pysmtpd.ruleset.analysis import Relaying
from pysmtpd.ruleset.nodes import BadNode, parseNodes
from pysmtpd.table.content import Builder
from pysmtpd.table.syntax import Entry, Reader
from pysmtpd.table.uses import servicesOf
from pysmtpd.tls.certificates import Certificates

# Octets of a table's file that is read to be checked, and wrong values of one that are told.
MAX_TABLE = 1 << 20
MAX_TOLD = 5
# What only a map can answer.
_MAPS = frozenset({Service.ALIAS, Service.CREDENTIALS, Service.USERINFO, Service.ADDRNAME, Service.MAILADDRMAP})


def machine(config: Config) -> Machine:
    """This machine, as far as a configuration is concerned with it."""
    return Machine(_knows(pwd.getpwnam), _knows(grp.getgrnam), _fileMode, lambda: _pkiFaults(config.pki))


def _knows(look: Callable[[str], object]) -> Callable[[str], bool]:
    def knows(name: str) -> bool:
        try:
            look(name)
        except KeyError:
            return False
        return True

    return knows


def _fileMode(path: str) -> int:
    file = RealFiles().open(path)
    try:
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    finally:
        file.close()


def _pkiFaults(pki: Mapping[str, PkiSpec]) -> Mapping[str, Sequence[str]]:
    """Why certificates and keys cannot be used, by the names of their pkis."""
    return {
        name: [
            fault.removeprefix(f"{spec.where}: ") for fault in Certificates({name: spec}, readOctets, time.time).faults
        ]
        for name, spec in pki.items()
        # One without the other was told before.
        if spec.cert and spec.key
    }


def examine(reading: Reading) -> None:
    """Add what the machine lacks, tables that nothing here can serve, and what is wrong in the files of those that are read whole."""
    config = reading.config()
    inspect(config, reading.problems.files, machine(config), reading.problems)
    for spec in config.tables.values():
        if spec.where is not NOWHERE:
            try:
                findBackend("table", spec.backend.name)
            except NoSuchBackend as error:
                reading.problems.add(spec.backend.where, str(error), Finding.ENVIRONMENT)
    services = servicesOf(config)
    for name, spec in config.tables.items():
        if spec.backend.name == "file":
            _examineFile(spec, services.get(name, frozenset()), reading.problems)


def _examineFile(spec: TableSpec, services: Collection[Service], problems: Problems) -> None:
    """What is wrong in the file, if it is not a large one, with its lines."""
    path = spec.backend.argument
    try:
        with open(path, "rb") as file:
            octets = file.read(MAX_TABLE + 1)
    except OSError:
        # That was told before.
        return
    if len(octets) > MAX_TABLE:
        return
    reader = Reader(False if set(services) == {Service.REGEX} else None)
    builder = Builder(path, services)
    try:
        entries = [*reader.feed(octets), *reader.finish()]
        builder.add(entries)
    except ValueError:
        # It is no table at all: that is told by whoever reads it.
        return
    if entries and not reader.isMap and not _MAPS.isdisjoint(services):
        problems.add(
            spec.where,
            f"table {spec.name}: {path} is a list, as there is nothing behind the first word of its first line; a map must stand there",
            Finding.ENVIRONMENT,
        )
    wrongs = [*builder.problems, *(_wrongNodes(path, entries) if Service.ALIAS in services else ())]
    for wrong in wrongs[:MAX_TOLD]:
        problems.add(spec.where, f"table {spec.name}: {wrong}", Finding.ENVIRONMENT)


def _wrongNodes(path: str, entries: Iterable[Entry]) -> Iterator[str]:
    """Values of aliases that would refuse the mail."""
    for _, value, line in entries:
        for node in parseNodes(value):
            if isinstance(node, BadNode):
                yield f'{path}:{line}: "{node.text[:80]}" is no address, user, command, file, include or error'


def findUser(name: str) -> UserInfo | None:
    """A user of the system."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return UserInfo(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def aboutRules(platform: IPlatform, config: Config, tables: Mapping[str, ITable]) -> tuple[Relaying, tuple[str, ...]]:
    """Can strangers relay, by what the tables hold now; and warnings about the rules as a whole.

    @param platform: its lanes work in place.
    """
    found: list[Sights | Failure] = []
    Deferred.fromCoroutine(look(platform, config, tables)).addBoth(found.append)
    (sights,) = found
    if isinstance(sights, Failure):
        sights.raiseException()
    analysis = analyse(config, sights)
    return analysis.relaying, (*analysis.warnings, *unroutable(config, sights, findUser))


def exitCode(problems: Sequence[Problem]) -> int:
    """What C{pysmtpd -n} ends with. Where a file is wrong and the machine, too, the file's counts."""
    if not problems:
        return EX_OK
    return EX_OSFILE if onlyMachine(problems) else EX_CONFIG


def onlyMachine(problems: Sequence[Problem]) -> bool:
    """Is the file right, whatever this machine lacks?"""
    return all(problem.finding is Finding.ENVIRONMENT for problem in problems)


def tell(problems: Sequence[Problem], warnings: Sequence[str] = ()) -> NoReturn:
    """Print problems and warnings, and end with the code that the problems call for."""
    for problem in problems:
        # The name of the program stands before what has no line; what has one begins with its place, for editors.
        print(f"{problem}" if problem.line else f"pysmtpd: {problem}", file=sys.stderr)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    sys.exit(exitCode(problems))


def notes(config: Config) -> list[str]:
    """What is read and checked, but cannot be run yet: a line for each word."""
    return [f'{where}: "{word}" is not built yet: the daemon does not run with it' for word, where in unbuilt(config)]


def checkSyntax(reading: Reading) -> NoReturn:
    """C{pysmtpd -n --syntax}: the language alone."""
    problems = reading.problems.found(Finding.LANGUAGE)
    if problems:
        tell(problems)
    sys.exit(EX_OK)


def asksSystem(config: Config) -> bool:
    """Does a listener check passwords of the system's users?"""
    return any(spec.asksSystem for spec in config.listeners)


def checkSystem(config: Config) -> None:
    """
    @raise UsageError: a listener wants to check passwords of the system's users, and we cannot.
    """
    for spec in config.listeners:
        if not spec.asksSystem:
            continue
        if os.geteuid() != 0:
            raise UsageError(
                f"{spec.where}: auth without a table asks the system for its users' passwords, which needs root: "
                "start the daemon as root, or name a table"
            )
        missing = password.missing()
        if missing:
            raise UsageError(f"{spec.where}: auth without a table asks the system for its users' passwords: {missing}")


def readTables(reading: Reading, platform: IPlatform) -> Mapping[str, ITable]:
    """Make all tables, read them, and add what is wrong with them. One that wants a running daemon for that stays unread.

    @param reading: nothing is wrong with the configuration itself.
    @param platform: its lanes work in place.
    @return: empty, where a backend is missing: that was told before.
    """
    specs = reading.config().tables
    try:
        read = makeTables(platform, reading.config())
    except NoSuchBackend:
        return {}
    known = {problem.where for problem in reading.problems.found()}
    for name, table in read.items():
        where = specs[name].where
        found: list[Updated | Failure] = []
        table.update().addBoth(found.append)
        for updated in found:
            if isinstance(updated, Updated):
                read[name] = updated.table
                for problem in updated.update.problems[:MAX_TOLD] if where not in known else ():
                    reading.problems.add(where, f"table {name}: {problem}", Finding.ENVIRONMENT)
            elif where not in known:
                reading.problems.add(where, updated.getErrorMessage(), Finding.ENVIRONMENT)
    return read
