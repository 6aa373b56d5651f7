"""Decides with tables and users in dictionaries: what the router does, without a world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pysmtpd.config import Environment, load
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.model.question import Answer, Ask, AskMatch, AskUser, TempFail
from pysmtpd.ruleset import decide
from pysmtpd.table.content import Content

ENVIRONMENT = Environment("mx.example.org", ("192.0.2.25", "2001:db8::25"))
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)


def path(text: str) -> Path:
    local, at, domain = text.rpartition("@")
    return Path(local, domain) if at else Path(text, "")


def transaction(sender: str = "s@example.com", **facts: Any) -> Transaction:
    """What a stranger sends, unless C{facts} say otherwise."""
    return Transaction(
        SessionFacts(SessionId(1), "l", "mx.example.org", facts.pop("peer", "203.0.113.9"), **facts), path(sender)
    )


class World:
    """
    @ivar failing: tables and users that cannot be asked now.
    """

    def __init__(self, text: str, users: str = "ann ben cid vmail") -> None:
        self.config: Config = load("smtpd.conf", lambda name: text, ENVIRONMENT)
        self.contents: Mapping[str, Content] = {n: Content(spec.entries) for n, spec in self.config.tables.items()}
        self.users = users.split()
        self.failing: set[str] = set()
        self.asked: list[Ask] = []

    def answer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        if isinstance(ask, AskUser):
            return TempFail("users are away") if ask.name in self.failing else ask.name in self.users
        if ask.table in self.failing:
            return TempFail(f"{ask.table} is away")
        content = self.contents[ask.table]
        if isinstance(ask, AskMatch):
            return content.match(ask.service, ask.key)
        return content.lookup(ask.service, ask.key)

    def decide(self, rcpt: str, sent: Transaction | None = None) -> Decision:
        deciding = decide(self.config, path(rcpt), sent or transaction())
        try:
            ask = next(deciding)
            while True:
                ask = deciding.send(self.answer(ask))
        except StopIteration as decided:
            result: Decision = decided.value
            return result

    def goes(self, rcpt: str, sent: Transaction | None = None) -> list[str]:
        """C{"action user address"} of each destination; or the one refusal."""
        decision = self.decide(rcpt, sent)
        if decision.refusal:
            return [f"{decision.refusal.code} {decision.refusal.enhanced}"]
        return [" ".join(filter(None, (d.action, d.user, str(d.recipient)))) for d in decision.destinations]
