"""C{pysmtpd -n}: all that can be said of a configuration without running it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from pysmtpd.analysing import Analysis, Sights, analyse, look, unroutable
from pysmtpd.backends import NoSuchBackend, findBackend
from pysmtpd.config.inspect import Machine, inspect
from pysmtpd.config.load import Reading
from pysmtpd.config.problem import Finding, Problem
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.exitcodes import EX_CONFIG, EX_OK, EX_OSFILE
from pysmtpd.generations import makeTables
from pysmtpd.interfaces import IPlatform, ITable, Updated
from pysmtpd.model.config import CaSpec, Config, PkiSpec
from pysmtpd.model.question import Service, UserInfo, titled
from pysmtpd.model.table import NOWHERE
from pysmtpd.platform.files import RealFiles
from pysmtpd.platform.trusted import openings
from pysmtpd.privilege import password
from pysmtpd.privilege.drop import PrivilegeError, chooseUser
from pysmtpd.reading import readOctets
from pysmtpd.ruleset.nodes import BadNode, parseNodes
from pysmtpd.table.uses import servicesOf
from pysmtpd.tls.authorities import loadAuthorities
from pysmtpd.tls.certificates import Certificates

# Of what is wrong with entries of one table.
_SHOWN_PROBLEMS = 5


def machine(config: Config, user: str | None) -> Machine:
    """This machine, as far as a configuration is concerned with it.

    @param user: whom the daemon shall run as; None: whom it chooses.
    """
    daemon = _daemonUser(user)
    return Machine(
        _knows(pwd.getpwnam),
        _knows(grp.getgrnam),
        _fileMode,
        lambda path: _openings(path, daemon),
        lambda: _pkiFaults(config.pki),
        _caFaults,
    )


def _daemonUser(name: str | None) -> int:
    """The number of whom the daemon would run as; root's own: there is nobody yet."""
    try:
        return os.geteuid() or chooseUser(name).pw_uid
    except PrivilegeError:
        return 0


def _openings(path: str, daemon: int) -> list[tuple[str, str]]:
    """See L{Machine}; a file that cannot be seen is told of elsewhere."""
    try:
        return [(place, _writerOf(found, daemon)) for place, found in openings(path, (0, daemon))]
    except OSError:
        return []


def _writerOf(found: os.stat_result, daemon: int) -> str:
    """Who may write it that is not root or the daemon; empty: everybody."""
    if found.st_mode & stat.S_IWOTH:
        return ""
    if found.st_uid not in (0, daemon):
        return f"user {_nameOr(found.st_uid, lambda uid: pwd.getpwuid(uid).pw_name)}"
    return f"group {_nameOr(found.st_gid, lambda gid: grp.getgrgid(gid).gr_name)}"


def _nameOr(number: int, look: Callable[[int], str]) -> str:
    try:
        return look(number)
    except KeyError:
        return str(number)


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


def _caFaults(spec: CaSpec) -> Sequence[str]:
    """Why the certificates of a ca cannot be used. A file that cannot be read is told with all others."""
    try:
        readOctets(spec.cert)
    except OSError:
        return ()
    return [fault.removeprefix(f"{spec.where}: ") for fault in loadAuthorities(spec, readOctets).faults]


def examine(reading: Reading, user: str | None) -> None:
    """Add what the machine lacks, and backends that there are not.

    @param user: whom the daemon shall run as; None: whom it chooses.
    """
    config = reading.config()
    inspect(config, reading.problems.files, machine(config, user), reading.problems)
    backends = [("table", spec.backend) for spec in config.tables.values()]
    backends += [("queue", config.queueBackend), ("scheduler", config.schedulerBackend), ("stat", config.statBackend)]
    for kind, backend in backends:
        if backend.where is not NOWHERE:
            try:
                findBackend(kind, backend.name)
            except NoSuchBackend as error:
                reading.problems.add(backend.where, str(error), Finding.ENVIRONMENT)


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

    @return: empty: one has a backend that there is not, which has been told.
    @param reading: nothing is wrong with the configuration itself.
    @param platform: its lanes work in place.
    @raise UsageError: one cannot be made.
    """
    specs = reading.config().tables
    try:
        read = makeTables(platform, reading.config())
    except NoSuchBackend as error:
        if reading.problems.found():
            return {}
        raise UsageError(str(error)) from error
    known = {problem.where for problem in reading.problems.found()}
    for name, table in read.items():
        where = specs[name].where
        found: list[Updated | Failure] = []
        table.update().addBoth(found.append)
        for updated in found:
            if isinstance(updated, Updated):
                read[name] = updated.table
                for problem in updated.update.problems[:_SHOWN_PROBLEMS]:
                    reading.problems.warn(where, f"{titled(name)}: {problem}")
            elif where not in known:
                reading.problems.add(where, updated.getErrorMessage(), Finding.ENVIRONMENT)
    return read


def survey(platform: IPlatform, config: Config, tables: Mapping[str, ITable]) -> Analysis:
    """What is to be said of the rules as a whole, by what the tables hold now.

    @param platform: its lanes work in place.
    """
    seen: list[Sights | Failure] = []
    Deferred.fromCoroutine(look(platform, config, tables)).addBoth(seen.append)
    (sights,) = seen
    if isinstance(sights, Failure):
        sights.raiseException()
    analysis = analyse(config, sights)
    more = (*unroutable(config, sights, _findUser), *_wrongAliases(config, sights))
    return replace(analysis, warnings=(*analysis.warnings, *more))


def _findUser(name: str) -> UserInfo | None:
    """A user of the system."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return UserInfo(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def _wrongAliases(config: Config, sights: Sights) -> Iterator[str]:
    """Warnings about what would refuse the mail."""
    for name, services in servicesOf(config).items():
        entries = list(sights.tables().entries(name, Service.ALIAS) or ()) if Service.ALIAS in services else []
        if not entries:
            continue
        where = config.tables[name].where
        if not any(value for _, value in entries):
            yield f"{where}: table {name} is a list, as there is nothing behind its first word; a map must stand there"
            continue
        wrong = [(key, node) for key, value in entries for node in parseNodes(value) if isinstance(node, BadNode)]
        for key, node in wrong[:_SHOWN_PROBLEMS]:
            yield f'{where}: table {name}: {key}: "{node.text[:80]}" is no address, user, command, file, include or error'
