"""Where senders are reached, by the rules of one generation."""

from __future__ import annotations

from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IRouter
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Message
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId

# Reports come from no session.
_NO_SESSION = SessionId(0)

# A sender, and whether the report needs SMTPUTF8 and TLS.
_Key: TypeAlias = tuple[Path, bool, bool]


class Senders:
    """Asks the router once for what is asked in one turn of the reactor, or while it decides: what ends together often has one sender, as
    the mail of a list or of an application does.

    @ivar config: the generation.
    """

    def __init__(self, config: Config, clock: IReactorTime, router: IRouter) -> None:
        self.config = config
        self._clock = clock
        self._router = router
        self._session = SessionFacts(
            session=_NO_SESSION,
            listener="socket",
            hostname=config.serverName,
            peer="local",
            helo=config.serverName,
            protocol="ESMTP",
            isLocal=True,
            isSocket=True,
        )
        self._transactions: dict[tuple[bool, bool], Transaction] = {}
        # Of this turn.
        self._known: dict[_Key, Decision] = {}
        self._waiting: dict[_Key, list[Deferred[Decision]]] = {}

    def transaction(self, message: Message) -> Transaction:
        """As the local socket would bring a report of that message, from the null sender (RFC 5321 6.1)."""
        original = message.transaction
        wishes = (original.smtputf8 or original.sender.isUTF8, original.requireTls)
        transaction = self._transactions.get(wishes)
        if transaction is None:
            utf8, requireTls = wishes
            transaction = Transaction(self._session, NULL_PATH, body="8BITMIME", smtputf8=utf8, requireTls=requireTls)
            self._transactions[wishes] = transaction
        return transaction

    def find(self, sender: Path, transaction: Transaction) -> Ready[Decision]:
        """Where the sender's mail goes.

        @param transaction: from here.
        """
        key = (sender, transaction.smtputf8, transaction.requireTls)
        known = self._known.get(key)
        if known is not None:
            return known
        found: Deferred[Decision] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(found)
            return found
        decision = self._router.expand(self.config, sender, transaction)
        if isinstance(decision, Deferred):
            self._waiting[key] = [found]
            decision.addBoth(self._answer, key)
            return found
        # The router tells of what it refuses, and whoever counts that counts each.
        if decision.refusal is None:
            if not self._known:
                self._clock.callLater(0, self._known.clear)
            self._known[key] = decision
        return decision

    def _answer(self, result: Any, key: _Key) -> None:
        for found in self._waiting.pop(key):
            found.callback(result)
