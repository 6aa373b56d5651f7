"""Where an envelope would go: found as an attempt finds it, but nothing is remembered, and nobody connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.routing import IResolver, ITable, Service, TableError
from pysmtpd.model.address import Path
from pysmtpd.model.config import Action, Config, RelayHost
from pysmtpd.model.envelope import Destination
from pysmtpd.model.relayurl import parseRelay
from pysmtpd.mta.keys import BadDomain, RelayKey, finalSender, hostLevel, relayKey
from pysmtpd.mta.mx import Filter, Resolution, Search
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.security import Level

PATIENCE = 10.0
"""Seconds that DNS has."""

MAX_SHOWN = 20

_TLS = {
    Level.NEVER: "never",
    Level.OPPORTUNISTIC: "if the host offers it",
    Level.REQUIRED: "required, any certificate",
    Level.VERIFIED: "required, with a valid certificate",
}


async def foresee(
    config: Config,
    destination: Destination,
    sender: Path,
    resolver: IResolver | None,
    localAddresses: Sequence[str],
    clock: IReactorTime,
    wallTime: float,
    tables: Mapping[str, ITable],
    policies: IPolicies,
) -> Mapping[str, object]:
    """The next hop and its policy, as plain values.

    @param resolver: None: DNS is not asked, nor are tables.
    @param policies: what is known of them.
    """
    action = config.actions.get(destination.action)
    if action is None:
        return {"problem": f'the action "{destination.action}" is not in the configuration'}
    hosts: tuple[RelayHost, ...] = ()
    problem, table = "", ""
    ref = action.hostTable or action.domainTable
    if ref is not None:
        table = ref.name
        hosts, problem = await _byTable(action, destination, tables if resolver is not None else {})
        if not hosts:
            return {
                "by": "table",
                "table": table,
                "domain": "",
                "hosts": [],
                "tls": "",
                "helo": action.helo or config.serverName,
                "source": action.source.name if action.source else "",
                "auth": action.authTable.name if action.authTable else "",
                "mail_from": str(finalSender(config, action, sender, destination, wallTime)),
                "next": [],
                "problem": problem,
            }
    try:
        key = relayKey(config, action, destination.recipient, hosts)
    except BadDomain as error:
        return {"problem": f"bad destination domain {error}"}
    told: dict[str, object] = {
        "by": "table" if table else "mx" if key.domain else "hosts",
        "table": table,
        "domain": key.domain,
        "hosts": [_host(key, host) for host in key.hosts],
        "tls": _TLS[key.level],
        "helo": key.helo,
        "source": key.source,
        "auth": key.auth,
        "mail_from": str(finalSender(config, action, sender, destination, wallTime)),
        "next": [],
        "verdicts": [],
        "problem": "",
    }
    if resolver is None:
        return told
    resolution = await _search(key, config, resolver, localAddresses, clock, policies)
    if resolution is None:
        told["problem"] = f"DNS gave no answer within {PATIENCE:g} seconds"
    elif resolution.failure is not None:
        told["problem"] = str(resolution.failure[1])
    else:
        labels = [[target.label for target in level] for level in resolution.levels if level]
        told["next"] = [level[:MAX_SHOWN] for level in labels[:MAX_SHOWN]]
        targets = [target for level in resolution.levels for target in level]
        told["verdicts"] = [f"{target.label}: {target.verdict}" for target in targets[:MAX_SHOWN]]
    return told


async def _byTable(
    action: Action, destination: Destination, tables: Mapping[str, ITable]
) -> tuple[tuple[RelayHost, ...], str]:
    """The host that a table tells for this destination, or why there is none to tell."""
    if action.domainTable is None:
        # Whoever asks takes a turn away from somebody.
        return (), "the next host of the table"
    name = action.domainTable.name
    if name not in tables:
        return (), "not asked"
    domain = destination.recipient.domain.rstrip(".").lower()
    try:
        url = await asDeferred(tables[name].lookup(Service.RELAYHOST, domain))
        return ((parseRelay(url),), "") if url is not None else ((), f"table {name} has no relay for {domain}")
    except (TableError, ValueError) as error:
        return (), f"table {name}: {error}"


def _host(key: RelayKey, host: RelayHost) -> dict[str, object]:
    level = hostLevel(key, host)
    return {
        "protocol": host.protocol,
        "host": host.host,
        "port": host.port,
        "tls": _TLS[level] if level is not None else "contradicts the action's tls: this host is never used",
        "credentials": host.label,
    }


async def _search(
    key: RelayKey,
    config: Config,
    resolver: IResolver,
    localAddresses: Sequence[str],
    clock: IReactorTime,
    policies: IPolicies,
) -> Resolution | None:
    found: Deferred[Resolution | None] = Deferred()

    def answered(resolution: Resolution) -> None:
        if late.active():
            late.cancel()
            found.callback(resolution)

    late = clock.callLater(PATIENCE, found.callback, None)
    # The source address is taken in turn, at the attempt; here it would be taken away from somebody.
    Search(key, "", config.mta.family, Filter(config, localAddresses), resolver, policies, answered).start()
    return await found
