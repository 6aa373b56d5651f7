"""Decides with tables and users in dictionaries: what the router does, without a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysmtpd.config import Environment, load
from pysmtpd.interfaces import TableError
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Agent, Destination
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskInclude,
    AskLookup,
    AskMatch,
    AskSelf,
    AskToday,
    AskTrust,
    AskUser,
    Holders,
    TempFail,
    UserInfo,
)
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
    @ivar untrusted: tables that may not name commands.
    @ivar roots: users whose uid is 0.
    @ivar forwards: answers to C{AskForward}, by user.
    @ivar files: of C{AskInclude}.
    @ivar answers: to these questions, in place of the usual.
    @ivar daemon: whom the daemon runs as.
    """

    def __init__(self, text: str, users: str = "ann ben cid vmail", change: Callable[[Config], Config] | None = None):
        """
        @param change: makes of the configuration what its language cannot say.
        """
        config = load("smtpd.conf", lambda name: text, ENVIRONMENT)
        self.config: Config = change(config) if change else config
        self.contents: dict[str, Content] = {n: Content(spec.entries) for n, spec in self.config.tables.items()}
        self.users = users.split()
        self.failing: set[str] = set()
        self.untrusted: set[str] = set()
        self.roots: set[str] = set()
        self.forwards: dict[str, Answer] = {}
        self.files: dict[str, str] = {}
        self.daemon = UserInfo("_smtpd", 990, 990, "/var/empty")
        self.day = 20_000
        self.answers: dict[Ask, Answer] = {}
        self.asked: list[Ask] = []

    def answer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        if ask in self.answers:
            return self.answers[ask]
        match ask:
            case AskUser(name):
                if name in self.failing:
                    return TempFail("users are away")
                uid = 0 if name in self.roots else 1000
                return UserInfo(name, uid, uid, f"/home/{name}") if name in self.users else None
            case AskForward(user):
                return self.forwards.get(user.name)
            case AskSelf():
                return self.daemon
            case AskToday():
                return self.day
            case AskInclude(file):
                return self.files[file] if file in self.files else TempFail(f"{file} is not there")
            case AskTrust(table):
                return table not in self.untrusted
            case AskMatch(table) | AskLookup(table) if table in self.failing:
                return TempFail(f"{table} is away")
            case AskMatch(table, service, key):
                return self.contents[table].match(service, key)
            case AskLookup(table, service, key):
                try:
                    return self.contents[table].lookup(service, key)
                except TableError as error:
                    return TempFail(str(error))

    def decide(self, rcpt: str, sent: Transaction | None = None, holders: Holders | None = None) -> Decision:
        deciding = decide(self.config, path(rcpt), sent or transaction(), holders)
        try:
            ask = next(deciding)
            while True:
                ask = deciding.send(self.answer(ask))
        except StopIteration as decided:
            result: Decision = decided.value
            return result

    def goes(self, rcpt: str, sent: Transaction | None = None) -> list[str]:
        """C{"action user address"} of each destination, with its command or file; or the one refusal."""
        decision = self.decide(rcpt, sent)
        if decision.refusal:
            return [f"{decision.refusal.code} {decision.refusal.enhanced}"]
        return [
            " ".join(filter(None, (d.action, _user(d), str(d.recipient), f"|{d.command}" if d.command else d.file)))
            for d in decision.destinations
        ]


def _user(destination: Destination) -> str:
    """The daemon's own user is told by no name."""
    return destination.user or ("(daemon)" if destination.agent is Agent.MDA else "")
