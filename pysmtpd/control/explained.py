"""Explanations as plain values: the stable form of C{--json}, which docs/explain.md describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pysmtpd.model.config import Config, Method
from pysmtpd.model.decision import Considered, Decision, Question, Step, Where
from pysmtpd.model.envelope import Destination
from pysmtpd.model.explanation import Exchange, Explanation

# Steps of one tree that are shown, and questions of one step: an answer is for people.
MAX_STEPS = 2000
MAX_QUESTIONS = 200


def explanationValues(explanation: Explanation, routes: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """
    @param routes: for each destination, where the mta would go; empty for local ones.
    """
    facts, spec = explanation.facts, explanation.listener
    return {
        "configuration": explanation.config.file,
        "notes": list(explanation.notes),
        "session": {
            "listener": facts.listener,
            "where": str(spec.where) if spec.where.line else "",
            "peer": facts.peer,
            "rdns": facts.rdns,
            "helo": facts.helo,
            "protocol": facts.protocol,
            "user": facts.user,
            "tag": facts.tag,
            "tls": facts.tls is not None,
            "local": facts.isLocal or facts.isSocket,
            "socket": facts.isSocket,
        },
        "sender": explanation.sender,
        "commands": [_command(exchange) for exchange in explanation.exchanges if not exchange.address],
        "recipients": [_recipient(exchange) for exchange in explanation.exchanges if exchange.address],
        "envelopes": [
            _envelope(destination)
            | {"sender": explanation.sender, "delivery": dict(route) or _local(explanation.config, destination)}
            for destination, route in zip(explanation.destinations, routes, strict=True)
        ],
    }


def decisionValues(decision: Decision) -> dict[str, Any]:
    """How it was decided, and what."""
    left = [MAX_STEPS]
    return {
        "refusal": str(decision.refusal) if decision.refusal is not None else "",
        "reason": decision.reason,
        "step": stepValues(decision.step, left),
        "destinations": [_envelope(destination) for destination in decision.destinations],
    }


def stepValues(step: Step, left: list[int]) -> dict[str, Any]:
    """
    @param left: how many more steps may be shown.
    """
    children = []
    for child in step.children:
        if left[0] <= 0:
            children.append({"address": "...", "outcome": "more than can be shown", "children": []})
            break
        left[0] -= 1
        children.append(stepValues(child, left))
    values: dict[str, Any] = {
        "address": str(step.path),
        "rules": [_considered(considered) for considered in step.considered],
        "questions": [_question(question) for question in step.questions[:MAX_QUESTIONS]],
        "chosen": _place(step.chosen),
        "outcome": step.outcome,
        "children": children,
    }
    # What is more than an address or a user, and who says so.
    kind, source = getattr(step, "kind", None), getattr(step, "source", None)
    values["kind"] = kind.value if kind is not None else "address"
    values["node"] = getattr(step, "node", "")
    values["source"] = str(source) if source is not None else ""
    return values


def _command(exchange: Exchange) -> dict[str, Any]:
    return {"command": exchange.command, "reply": exchange.reply, "reason": exchange.reason}


def _recipient(exchange: Exchange) -> dict[str, Any]:
    decision = exchange.decision
    return {
        "address": exchange.address,
        "reply": exchange.reply,
        "reason": exchange.reason,
        "accepted": not exchange.isRefused,
        "decision": decisionValues(decision) if decision is not None else None,
    }


def _considered(considered: Considered) -> dict[str, Any]:
    return {"where": _place(considered.where), "rule": considered.rule, "failed": considered.failed}


def _question(question: Question) -> dict[str, Any]:
    return {"asked": question.asked, "answer": question.answer}


def _envelope(destination: Destination) -> dict[str, Any]:
    return {
        "address": str(destination.recipient),
        "original": str(destination.original),
        "action": destination.action,
        "agent": destination.agent.value,
        "user": destination.user,
        "rule": destination.rule,
        "command": destination.command,
        "file": destination.file,
        "forwarded": destination.isForwarded,
        "via": [hop._asdict() for hop in destination.via],
    }


def _local(config: Config, destination: Destination) -> dict[str, Any]:
    action = config.actions[destination.action]
    method, command = action.method.value, action.command
    said = command.shell or " ".join(command.words) if command is not None else ""
    return {
        "method": method,
        "path": action.path or ("~/Maildir" if action.method is Method.MAILDIR else ""),
        "command": said,
        "wrapper": action.wrapper,
        "by": "local",
    }


def _place(where: Where | None) -> str:
    return str(where) if where is not None else ""
