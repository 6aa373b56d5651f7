"""Going to see a destination: connect to its hosts, say hello, look at TLS, and leave. Nothing is sent, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall

from pysmtpd.interfaces.routing import IResolver
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.model.relayurl import parseRelay
from pysmtpd.model.reply import Reply
from pysmtpd.mta.board import Board
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.ending import Ending
from pysmtpd.mta.keys import BadDomain, RelayKey, Target, domainOf
from pysmtpd.mta.mx import Filter, Resolution, Search
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.security import Level
from pysmtpd.mta.standing import GOOD
from pysmtpd.mta.task import Task
from pysmtpd.smtp.client_events import Stage

MAX_HOSTS = 10
"""Hosts of a destination that are visited."""

SEARCH_TIME = 15.0
VISIT_TIME = 30.0
"""Seconds; an operator waits."""

_GIVEN_UP = Reply(451, f"No end within {VISIT_TIME:g} seconds", "4.4.2")


class Visit:
    """One host. Stands where a L{pysmtpd.mta.pool.Pool} stands for its connection.

    @ivar done: fires with a row for people.
    @ivar standing: nothing is held against the host: it is visited, whatever it was like.
    """

    def __init__(self, board: Board, target: Target, level: int) -> None:
        self.board = board
        self.key = target.key
        self.standing = GOOD
        self.done: Deferred[Mapping[str, object]] = Deferred()
        self._target = target
        self._level = level
        self._since = board.clock.seconds()
        self._connection = Connection(cast(Any, self), target, False, board.newSession())
        self._late: IDelayedCall = board.clock.callLater(VISIT_TIME, self._tooLate)

    def begin(self) -> None:
        try:
            self.board.tls.check(self.key.tls)
        except LookupError as error:
            self._end(Stage.TLS, f"TLS: {error.args[0]}")
            return
        self.board.visits(self._connection)
        self._connection.begin(None)

    def established(self, connection: Connection) -> None:
        """All was said that is said before a transaction."""
        self._end(Stage.IDLE, "")
        connection.leave()

    def lost(self, connection: Connection, stage: Stage, reply: Reply, moved: Task | None = None) -> None:
        """It came to no good end."""
        self._end(stage, str(reply), Ending(self._target.policy, stage, reply).goesPlain)

    def unbound(self, connection: Connection, why: str) -> None:
        """Our address could not be had."""
        self._end(Stage.GREETING, why)

    def withoutDescriptor(self, connection: Connection) -> None:
        """We have none to spare."""
        self._end(Stage.GREETING, "too many open files")

    def quit(self, connection: Connection) -> None:
        """The deadline of an idle connection; it has said QUIT before."""

    def _tooLate(self) -> None:
        self.lost(self._connection, self._connection.stage, _GIVEN_UP)
        self._connection.giveUp(_GIVEN_UP)

    def _end(self, stage: Stage, error: str, isPlain: bool = False) -> None:
        """
        @param isPlain: mail would be sent without TLS after this.
        """
        if self.done.called:
            return
        if self._late.active():
            self._late.cancel()
        connection, policy = self._connection, self._target.policy
        self.done.callback(
            {
                "host": self._target.host.strip("[]"),
                "address": self.key.address,
                "port": self.key.port,
                "preference": self._level,
                "source": connection.source,
                "result": "ok" if not error else "failed",
                "stage": "" if not error else stage.value if connection.isConnected else "connect",
                "error": error,
                "greeting": connection.greeting,
                "extensions": str(connection.extensions).split(),
                "tls": connection.tls,
                "certificate": connection.certificateError if connection.tls else "",
                "policy": str(policy),
                "verdict": _verdict(error, bool(connection.tls), isPlain),
                "grounds": [str(ground) for ground in policy.grounds],
                "seconds": round(self.board.clock.seconds() - self._since, 3),
            }
        )


def _verdict(error: str, isTls: bool, isPlain: bool) -> str:
    """What becomes of usual mail for this host, after what was seen."""
    if not error:
        return f"mail goes there, {'under TLS' if isTls else 'in plain text'}"
    if isPlain:
        return "mail goes there, in plain text on a new connection: TLS fails, and nothing asks for it"
    return "no mail goes there"


class Probe:
    """One question of an operator."""

    def __init__(
        self, board: Board, config: Config, own: Sequence[str], resolver: IResolver, policies: IPolicies
    ) -> None:
        self._board = board
        self._config = config
        self._filter = Filter(config, own)
        self._resolver = resolver
        self._policies = policies

    async def run(self, name: str) -> Mapping[str, object]:
        """
        @param name: a domain, whose MX is asked for; a host, which is its own; an address; or a relay URL.
        @raise ValueError: it is none of these.
        """
        resolution, problems = await self._find(self._key(name.strip()))
        if resolution is None:
            return {"name": name, "problem": f"DNS gave no answer within {SEARCH_TIME:g} seconds", "hosts": []}
        if resolution.failure is not None:
            return {"name": name, "problem": str(resolution.failure[1]), "hosts": []}
        if not resolution.isComplete:
            problems = [*problems, f"DNS did not tell all hosts within {SEARCH_TIME:g} seconds"]
        found = [(target, level) for level, targets in enumerate(resolution.levels) for target in targets]
        visits = [Visit(self._board, target, level) for target, level in found[:MAX_HOSTS] if not target.barred]
        for visit in visits:
            visit.begin()
        rows = await gatherResults([visit.done for visit in visits])
        barred = [
            {"host": target.host, "address": target.key.address, "result": "barred", "error": target.barred}
            for target, _ in found
            if target.barred
        ]
        return {"name": name, "problem": "; ".join(problems), "hosts": [*rows, *barred]}

    def _key(self, name: str) -> RelayKey:
        helo = self._config.serverName
        if "://" in name or canonicalIp(name) or name.startswith("["):
            host = parseRelay(name)
            verify = host.protocol in ("smtp+tls", "smtps")
            return RelayKey("", (host,), Level.OPPORTUNISTIC, verify, helo, "", "")
        try:
            return RelayKey(domainOf(Path("", name)), (), Level.OPPORTUNISTIC, True, helo, "", "")
        except BadDomain:
            raise ValueError(f"{name[:80]!r} is neither a domain, nor a host, nor a relay URL") from None

    def _find(self, key: RelayKey) -> Deferred[tuple[Resolution | None, Sequence[str]]]:
        """
        @return: all of its hosts, or those that are known in time, or None: nothing is; and what is wrong with the others.
        """
        found: Deferred[tuple[Resolution | None, Sequence[str]]] = Deferred()
        heard: list[Resolution] = []

        def answered(resolution: Resolution) -> None:
            heard.append(resolution)
            if resolution.isComplete or resolution.failure is not None:
                end()
            else:
                resolution.whenComplete(end)

        def end() -> None:
            if not found.called:
                if late.active():
                    late.cancel()
                found.callback((heard[0] if heard else None, search.problems))

        late = self._board.clock.callLater(SEARCH_TIME, end)
        search = Search(key, "", self._config.mta.family, self._filter, self._resolver, self._policies, answered)
        search.start()
        return found
