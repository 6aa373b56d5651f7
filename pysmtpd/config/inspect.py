"""What a configuration needs of the machine, and whether it is there: files, users, and who may read secrets, or write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pysmtpd.config.problem import Finding, Problems
from pysmtpd.model.config import NOWHERE, Config, TableRef
from pysmtpd.model.decision import Where
from pysmtpd.model.queuekey import STDIN

# Of a file's mode.
_OTHERS_READ = 0o004
_WITH_FILE = ("file", "db", "sqlite")


@dataclass(frozen=True, slots=True)
class Machine:
    """
    @ivar knowsUser: is there a user of this name? Likewise C{knowsGroup}.
    @ivar fileMode: the permission bits of a file that can be read; raises L{OSError} where it cannot.
    @ivar openings: where others than root and the daemon's user can change what a path leads to: it or directories above it, and who
        they are. Empty: everybody.
    @ivar pkiFaults: why a pki's certificate or key cannot be used, by the pki's name.
    """

    knowsUser: Callable[[str], bool]
    knowsGroup: Callable[[str], bool]
    fileMode: Callable[[str], int]
    openings: Callable[[str], Sequence[tuple[str, str]]]
    pkiFaults: Callable[[], Mapping[str, Sequence[str]]]


def inspect(config: Config, files: Sequence[str], machine: Machine, problems: Problems) -> None:
    """Tell what is missing, and which secrets are open.

    @param files: those that the configuration was read from.
    """
    for name, faults in machine.pkiFaults().items():
        for fault in faults:
            problems.add(config.pki[name].where, fault, Finding.ENVIRONMENT)
    for what, path, where in _files(config):
        try:
            machine.fileMode(path)
        except OSError as error:
            problems.add(where, f"{what}: cannot read {path}: {error.strerror or error}", Finding.ENVIRONMENT)
    for user, where in _users(config):
        if not machine.knowsUser(user):
            problems.add(where, f'there is no user "{user}"', Finding.ENVIRONMENT)
    for spec in config.procs.values():
        if spec.group and not machine.knowsGroup(spec.group):
            problems.add(spec.where, f'there is no group "{spec.group}"', Finding.ENVIRONMENT)
    secrets = list(_secrets(config, files))
    for what, path, where in secrets:
        if _isReadable(machine, path):
            problems.add(where, f"{what}: everybody may read {path}; chmod o= {path}", Finding.ENVIRONMENT)
    told: set[str] = set()
    for what, path, where in (*(("the configuration", file, Where(file, 1)) for file in files), *secrets):
        for place, who in machine.openings(path):
            if place in told:
                continue
            told.add(place)
            if who:
                problems.warn(where, f"{what}: {who} may write {place}")
            else:
                problems.add(where, f"{what}: everybody may write {place}; chmod o-w {place}", Finding.ENVIRONMENT)


def _isReadable(machine: Machine, path: str) -> bool:
    """May everybody read it?"""
    try:
        return bool(machine.fileMode(path) & _OTHERS_READ)
    except OSError:
        return False


def _files(config: Config) -> Iterator[tuple[str, str, Where]]:
    for authority in config.ca.values():
        yield f"ca {authority.name}", authority.cert, authority.where
    for table in config.tables.values():
        if table.backend.name in _WITH_FILE:
            yield f"table {table.name}", table.backend.argument, table.where


def _users(config: Config) -> Iterator[tuple[str, Where]]:
    for action in config.actions.values():
        if action.user:
            yield action.user, action.where
    for spec in config.procs.values():
        if spec.user:
            yield spec.user, spec.where


def _secrets(config: Config, files: Sequence[str]) -> Iterator[tuple[str, str, Where]]:
    for pki in config.pki.values():
        yield f"key of pki {pki.name}", pki.key, pki.where
    own: list[tuple[str, Where]] = []
    for ref in _credentials(config):
        spec = config.tables[ref.name]
        if spec.backend.name in _WITH_FILE:
            yield f"credentials of table {spec.name}", spec.backend.argument, spec.where
        elif spec.backend.name == "static":
            own.append(("credentials", spec.where))
    if config.srs:
        own.append(("key of srs", config.srs.where))
    if config.queueEncryption not in ("", STDIN):
        own.append(("key of the queue", config.places.get("queue encryption", NOWHERE)))
    if config.queueBackupKey:
        own.append(("key of the queue", config.places.get("queue encryption backup", NOWHERE)))
    for what, where in own:
        if where.file in files:
            yield what, where.file, where


def _credentials(config: Config) -> list[TableRef]:
    refs = [spec.authTable for spec in config.listeners] + [action.authTable for action in config.actions.values()]
    return list(dict.fromkeys(ref for ref in refs if ref is not None))
