"""Words of the language that are read and checked, but that no room honours yet.

The daemon does not start with one of them: what a configuration asks for is never left out in silence. A line goes when its room has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pysmtpd.model.action import Action, Method
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Where
from pysmtpd.model.listener import AuthMode, ListenerSpec

Finder = Callable[[Config], Iterable[Where]]

_SUBMISSION_PORTS = (465, 587)


def _said(words: str) -> Finder:
    """A setting that has a place."""
    return lambda config: [where for said, where in config.places.items() if said.startswith(words)]


def _actions(condition: Callable[[Action], object]) -> Finder:
    return lambda config: [action.where for action in config.actions.values() if condition(action)]


def _listeners(condition: Callable[[ListenerSpec], object]) -> Finder:
    return lambda config: [spec.where for spec in config.listeners if condition(spec)]


def _regexes(config: Config) -> list[Where]:
    return [
        rule.where
        for rule in config.rules
        if any(condition.table and condition.table.regex for condition in rule.conditions)
    ]


# What stands in the configuration, and where it does.
UNBUILT: Mapping[str, Finder] = {
    "proc": lambda config: [spec.where for spec in config.procs.values()],
    "filter": lambda config: [spec.where for spec in config.filters.values()],
    "queue compression": _said("queue compression"),
    "queue encryption": _said("queue encryption"),
    "admd": _said("admd"),
    "bounce": _said("bounce"),
    "smtp ciphers": _said("smtp ciphers"),
    "mta max-deferred": _said("mta max-deferred"),
    "mda wrapper": _said("mda wrapper"),
    "ca": lambda config: [spec.where for spec in config.ca.values()],
    "pki dhe": lambda config: [spec.where for spec in config.pki.values() if spec.dhe != "none"],
    "table allow-commands": lambda config: [spec.where for spec in config.tables.values() if spec.allowCommands],
    "listen on socket": lambda config: [config.socket.where] if config.socket else [],
    "listen ciphers": _listeners(lambda spec: spec.ciphers),
    "listen protocols": _listeners(lambda spec: spec.protocols),
    "listen auth without a table": _listeners(lambda spec: spec.auth is not AuthMode.NONE and spec.authTable is None),
    "listen hostnames": _listeners(lambda spec: spec.hostnames),
    "listen mask-src": _listeners(lambda spec: spec.maskSource),
    "listen no-dsn": _listeners(lambda spec: spec.noDsn),
    "listen received-auth": _listeners(lambda spec: spec.receivedAuth),
    "listen senders": _listeners(lambda spec: spec.senders),
    "listen proxy": _listeners(lambda spec: spec.proxy),
    "listen xclient": _listeners(lambda spec: spec.xclient),
    "listen submission": _listeners(lambda spec: spec.submission and spec.port not in _SUBMISSION_PORTS),
    "action mbox": _actions(lambda action: action.method is Method.MBOX),
    "action mda": _actions(lambda action: action.method is Method.MDA),
    "action maildir junk": _actions(lambda action: action.junk),
    "action wrapper": _actions(lambda action: action.wrapper),
    "action userbase": _actions(lambda action: action.userbase),
    "match regex": _regexes,
}


def unbuilt(config: Config) -> tuple[tuple[str, Where], ...]:
    """The words that this configuration has and the daemon cannot honour yet, each with the first place where it stands."""
    found = ((word, min(places, key=_order)) for word, find in UNBUILT.items() if (places := list(find(config))))
    return tuple(sorted(found, key=lambda each: _order(each[1])))


def _order(where: Where) -> tuple[str, int, int]:
    return (where.file, where.line, where.column)
