"""C{pysmtpd -n}: all that can be said of a configuration without running it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from pysmtpd.backends import NoSuchBackend, findBackend
from pysmtpd.config.inspect import Machine, inspect
from pysmtpd.config.load import Reading
from pysmtpd.config.problem import Finding, Problem
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.model.config import Config, PkiSpec
from pysmtpd.model.table import NOWHERE
from pysmtpd.platform.files import RealFiles

# Exit codes, of sysexits.h. Where a file is wrong and the machine, too, the file's counts.
EX_OK = 0
EX_OSFILE = 72
EX_CONFIG = 78

PkiFaults = Callable[[Mapping[str, PkiSpec]], Mapping[str, Sequence[str]]]


def machine(config: Config, pkiFaults: PkiFaults) -> Machine:
    """This machine, as far as a configuration is concerned with it."""
    return Machine(_knows(pwd.getpwnam), _knows(grp.getgrnam), _fileMode, lambda: pkiFaults(config.pki))


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


def examine(reading: Reading, pkiFaults: PkiFaults) -> None:
    """Add what the machine lacks, and tables that nothing here can serve."""
    config = reading.config()
    inspect(config, reading.problems.files, machine(config, pkiFaults), reading.problems)
    for spec in config.tables.values():
        if spec.where is not NOWHERE:
            try:
                findBackend("table", spec.backend.name)
            except NoSuchBackend as error:
                reading.problems.add(spec.where, str(error), Finding.CHECK)


def exitCode(problems: Sequence[Problem]) -> int:
    """What C{pysmtpd -n} ends with."""
    if not problems:
        return EX_OK
    onlyMachine = all(problem.finding is Finding.ENVIRONMENT for problem in problems)
    return EX_OSFILE if onlyMachine else EX_CONFIG


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
    return [f'{where}: "{word}" is not built yet: the daemon does not start with it' for word, where in unbuilt(config)]


def checkSyntax(reading: Reading) -> NoReturn:
    """C{pysmtpd -n --syntax}: the language alone."""
    problems = reading.problems.found(Finding.LANGUAGE)
    if problems:
        tell(problems)
    sys.exit(EX_OK)
