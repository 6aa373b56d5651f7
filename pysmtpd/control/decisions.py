"""Commands about decisions: why mail is treated as it is."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pysmtpd.control.amp import BadArgument
from pysmtpd.control.explained import explanationValues
from pysmtpd.control.pieces import Pieces
from pysmtpd.interfaces import IOperator, ReloadRefused
from pysmtpd.model.explanation import Supposed

MAX_RECIPIENTS = 100

_KINDS: dict[str, type | tuple[type, ...]] = {"str": str, "bool": bool, "int": int, "str | None": (str, type(None))}


class DecisionCommands:
    """Each public method is a command of L{pysmtpd.control.schema}."""

    def __init__(self, operator: IOperator) -> None:
        self._operator = operator
        self._pieces = Pieces()

    async def explain(self, supposed: Any, cursor: str) -> dict[str, Any]:
        if cursor:
            return self._pieces.more(cursor)
        try:
            explanation, routes = await self._operator.explain(supposedOf(supposed))
        except ValueError as error:
            raise BadArgument(str(error)) from error
        return self._pieces.first(explanationValues(explanation, routes))

    async def reload(self, cursor: str) -> dict[str, Any]:
        if cursor:
            return self._pieces.more(cursor)
        try:
            done = await self._operator.reload()
        except ReloadRefused as refused:
            return self._pieces.first({"errors": list(refused.messages)})
        return self._pieces.first(
            {
                "errors": [],
                "generation": done.generation,
                "changes": list(done.changes),
                "warnings": list(done.warnings),
            }
        )


def supposedOf(values: Any) -> Supposed:
    """
    @raise BadArgument: it is no supposition.
    """
    if not isinstance(values, dict):
        raise BadArgument("a supposition is an object; its keys are those of the options of explain")
    known = {field.name: str(field.type) for field in fields(Supposed)}
    for name, value in values.items():
        if name not in known:
            raise BadArgument(f"there is nothing called {str(name)[:40]!r} to suppose; there are: {', '.join(known)}")
        if name != "recipients" and (
            not isinstance(value, _KINDS[known[name]]) or isinstance(value, bool) != (known[name] == "bool")
        ):
            raise BadArgument(f"{name} is {known[name]}")
    recipients = values.get("recipients")
    if (
        not isinstance(recipients, list)
        or not 0 < len(recipients) <= MAX_RECIPIENTS
        or not all(isinstance(recipient, str) for recipient in recipients)
    ):
        raise BadArgument(f"recipients are 1 to {MAX_RECIPIENTS} addresses")
    if values.get("size", 0) < 0:
        raise BadArgument("size is not negative")
    return Supposed(**{"sender": "", **values, "recipients": tuple(recipients)})
