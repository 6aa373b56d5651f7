"""How the daemon and its subcommands read the configuration, and the files that it names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from os.path import abspath

from pysmtpd.config.environment import Environment
from pysmtpd.config.load import Reading
from pysmtpd.config.problem import ConfigErrors, Problem
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.interfaces import HelperFailed, IPlatform
from pysmtpd.model.config import Config, PkiSpec
from pysmtpd.model.decision import Where
from pysmtpd.platform.system import readInterfaceAddresses, readServerName, resolveHost
from pysmtpd.privilege.client import Helper
from pysmtpd.table.regex import checkPattern

# What the helper calls files of the configuration.
CONFIGURATION = "configuration"


def readConfig(
    file: str, platform: IPlatform, defines: Mapping[str, str], readText: Callable[[str], str] | None = None
) -> Reading:
    """The configuration, and all that is wrong with it.

    @param readText: in place of L{readFile}.
    """
    return Reading(file, readText or readFile, environment(platform), defines)


def loadConfig(file: str, platform: IPlatform, defines: Mapping[str, str]) -> Config:
    """The configuration, if nothing is wrong with it.

    @raise ConfigErrors: everything that is.
    """
    reading = readConfig(file, platform, defines)
    reading.problems.raiseIfAny()
    return reading.config()


def runnable(reading: Reading) -> Config:
    """The configuration, if a daemon can run with it.

    @raise ConfigErrors: everything that is wrong with the file; or one line about words that the daemon cannot honour yet.
    """
    reading.problems.raiseIfAny()
    config = reading.config()
    if words := unbuilt(config):
        raise ConfigErrors([_notBuilt(words)])
    return config


def _notBuilt(words: Sequence[tuple[str, Where]]) -> Problem:
    """One line for all of them: nothing in the file is wrong, so there is nothing to point at."""
    (first, where), *others = words
    if not others:
        return Problem(where, f'"{first}" is not built yet: the daemon does not run with it')
    more = " and ".join(f'"{word}" ({place})' for word, place in others)
    return Problem(where, f'"{first}" and {more} are not built yet: the daemon does not run with them')


def readFile(path: str) -> str:
    """A text as it stands there: ends of lines are left as they are, and what is not UTF-8 is there as surrogates.

    @raise OSError: it cannot be read.
    """
    return decoded(readOctets(path))


def decoded(octets: bytes) -> str:
    """The text of a file, with surrogates for what is not UTF-8."""
    return octets.decode("utf-8", "surrogateescape")


def readOctets(path: str) -> bytes:
    """
    @raise OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return file.read()


def reader(helper: Helper | None, config: Config) -> Callable[[str], bytes]:
    """How certificates and keys are read: by ourselves; once root's rights are gone, those of the start by the helper.

    @param config: that of the start.
    """
    known = {path: (pki.name, part) for pki in config.pki.values() for part, path in pkiFiles(pki)}
    known |= {ca.cert: (ca.name, "ca") for ca in config.ca.values()}

    def read(path: str) -> bytes:
        if helper is None or not helper.isAlive or path not in known:
            return readOctets(path)
        try:
            return helper.readFile(*known[path])
        except HelperFailed as error:
            raise OSError(0, str(error)) from error

    return read


def textReader(helper: Helper | None, files: Collection[str]) -> Callable[[str], str]:
    """How the configuration is read again: as C{reader} reads certificates.

    @param files: those that it was read from at the start.
    """
    known = configurationFiles(files)

    def read(path: str) -> str:
        key = (abspath(path), CONFIGURATION)
        if helper is None or not helper.isAlive or key not in known:
            try:
                return readFile(path)
            except PermissionError as error:
                if helper is None:
                    raise
                why = f"{error.strerror}; of files for root alone, only those of the start can be read again"
                raise OSError(error.errno, why, path) from error
        try:
            return helper.readFile(*key).decode("utf-8", "surrogateescape")
        except HelperFailed as error:
            raise OSError(0, str(error)) from error

    return read


def configurationFiles(files: Collection[str]) -> dict[tuple[str, str], str]:
    """How the helper knows them."""
    return {(abspath(path), CONFIGURATION): abspath(path) for path in files}


def pkiFiles(pki: PkiSpec) -> tuple[tuple[str, str], ...]:
    """Which part of it stands in which file."""
    return (("cert", pki.cert), ("key", pki.key))


def readHosts() -> str:
    """The system's hosts file; empty: there is none."""
    try:
        return readFile("/etc/hosts")
    except OSError:
        return ""


def environment(platform: IPlatform) -> Environment:
    """What a configuration needs to know of this machine."""
    interfaces: dict[str, list[str]] = {}
    for name, address in readInterfaceAddresses():
        interfaces.setdefault(name, []).append(address)
    return Environment(
        serverName=readServerName(platform.hostname),
        localAddresses=platform.localAddresses(),
        interfaces=interfaces,
        resolve=resolveHost,
        regexFault=regexFault,
    )


def regexFault(expression: str) -> str:
    """Why it is no regular expression that a table may hold; empty: it is one."""
    try:
        checkPattern(expression)
    except ValueError as error:
        return str(error)
    return ""
