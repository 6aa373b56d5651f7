"""What a configuration asks each table for: so a table can be checked, and made ready, when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pysmtpd.model.config import Config, Predicate, TableRef
from pysmtpd.model.question import Service

_PREDICATES: Mapping[Predicate, tuple[Service, ...]] = {
    Predicate.TAG: (Service.STRING,),
    Predicate.FROM_SRC: (Service.NETADDR,),
    Predicate.FROM_RDNS: (Service.DOMAIN,),
    Predicate.FOR_LOCAL: (Service.DOMAIN,),
    Predicate.FOR_DOMAIN: (Service.DOMAIN,),
    Predicate.HELO: (Service.DOMAIN,),
    # Users with an @ are compared as addresses.
    Predicate.AUTH: (Service.STRING, Service.MAILADDR),
    Predicate.MAIL_FROM: (Service.MAILADDR,),
    Predicate.RCPT_TO: (Service.MAILADDR,),
}
_FILTERS: Mapping[str, tuple[Service, ...]] = {
    "src": (Service.NETADDR,),
    "rdns": (Service.DOMAIN,),
    "helo": (Service.DOMAIN,),
    "auth": (Service.STRING, Service.MAILADDR),
    "mail-from": (Service.MAILADDR,),
    "rcpt-to": (Service.MAILADDR,),
}


def servicesOf(config: Config) -> dict[str, frozenset[Service]]:
    """By the table's name."""
    found: dict[str, set[Service]] = {}
    for ref, services in _uses(config):
        if ref is not None:
            found.setdefault(ref.name, set()).update((Service.REGEX,) if ref.regex else services)
    return {name: frozenset(services) for name, services in found.items()}


def _uses(config: Config) -> Iterator[tuple[TableRef | None, tuple[Service, ...]]]:
    for rule in config.rules:
        for condition in rule.conditions:
            yield condition.table, _PREDICATES.get(condition.predicate, ())
    for action in config.actions.values():
        yield action.alias, (Service.ALIAS,)
        yield action.virtual, (Service.ALIAS,)
        yield action.userbase, (Service.USERINFO,)
        yield action.authTable, (Service.CREDENTIALS,)
        yield action.source, (Service.SOURCE,)
        yield action.hostTable, (Service.RELAYHOST,)
        yield action.domainTable, (Service.RELAYHOST,)
        yield action.heloTable, (Service.ADDRNAME,)
    for listener in config.listeners:
        yield listener.authTable, (Service.CREDENTIALS,)
        yield listener.senders, (Service.MAILADDRMAP,)
        yield listener.hostnames, (Service.ADDRNAME,)
        yield listener.xclient, (Service.NETADDR,)
        if listener.proxy is not None:
            yield listener.proxy.source, (Service.NETADDR,)
    for filter in config.filters.values():
        yield filter.table, _FILTERS.get(filter.condition, ())
    if config.srs is not None:
        yield config.srs.domains, (Service.DOMAIN,)
