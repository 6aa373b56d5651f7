"""The rules, asked again about an envelope that is in the queue already."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from pysmtpd.model.config import Config, Method
from pysmtpd.model.decision import Decision, Record, Step
from pysmtpd.model.envelope import Agent, Destination
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import Answer, Ask, TempFail
from pysmtpd.model.reply import Reply
from pysmtpd.ruleset.compile import compileRules
from pysmtpd.ruleset.expansion import Expansion
from pysmtpd.ruleset.walk import Walk

_LATER = Reply(451, "Temporary failure", "4.3.0")
_NOWHERE = Reply(550, "No rule takes it", "5.7.1")


def rematch(config: Config, destination: Destination, transaction: Transaction) -> Generator[Ask, Answer, Decision]:
    """What becomes of an envelope: where C{destination} says it goes, with the facts of the session that brought it.

    Its current address is matched; nothing that has led there is followed again. A local delivery stays its user's. Only an address that
    was relayed, and is local now, is expanded, and may give one destination. A decision has one destination, or a refusal.
    """
    walk = Walk(compileRules(config), destination.recipient, transaction, _isForwarded(destination))
    rule = yield from walk.run()
    path = destination.recipient

    def decided(outcome: str, found: Destination | None, refusal: Reply | None = None) -> Decision:
        chosen = rule.where if rule is not None and not isinstance(rule, TempFail) else None
        step = Step(path, Record(walk.considered), Record(walk.questions), chosen, outcome)
        return Decision((found,) if found is not None else (), refusal, outcome, step)

    if isinstance(rule, TempFail):
        return decided(f"{path}: {rule}", None, _LATER)
    if rule is None:
        return decided(f"no rule matches {path}", None, _NOWHERE)
    action = rule.action
    if action is None:
        return decided(f"{path} is rejected at {rule.place}", None, _NOWHERE)
    outcome = f'action "{action.name}": {action.method.value}'
    if action.method is Method.RELAY:
        relayed = replace(
            destination, agent=Agent.MTA, action=action.name, user="", rule=rule.place, command="", file=""
        )
        return decided(outcome, relayed)
    if destination.user or destination.command or destination.file:
        isLmtp = action.method is Method.LMTP and not (destination.command or destination.file)
        return decided(
            outcome,
            replace(
                destination,
                agent=Agent.MTA if isLmtp else Agent.MDA,
                action=action.name,
                user=destination.user if isLmtp else action.user or destination.user,
                rule=rule.place,
            ),
        )
    decision = yield from Expansion(compileRules(config), path, _asSource(destination, transaction)).run()
    if decision.refusal is not None:
        return decision
    if len(decision.destinations) != 1:
        return replace(
            decision,
            destinations=(),
            refusal=_NOWHERE,
            reason=f"{path} would be {len(decision.destinations)} deliveries now, and it is one",
        )
    return decision


def _isForwarded(destination: Destination) -> bool:
    """Has an expansion led here? Envelopes of the first release do not say so."""
    return destination.isForwarded or destination.recipient != destination.original


def _asSource(destination: Destination, transaction: Transaction) -> Transaction:
    """What an expansion has given counts as local."""
    if not _isForwarded(destination):
        return transaction
    return replace(transaction, session=replace(transaction.session, isLocal=True, peer="local"))
