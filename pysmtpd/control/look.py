"""A look at the daemon, for what is shown of its envelopes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from pysmtpd.interfaces import IOperator, IRoutes
from pysmtpd.model.ids import EnvelopeId


class Look:
    """See L{pysmtpd.control.rows.Look}."""

    def __init__(self, operator: IOperator, routes: IRoutes) -> None:
        self._operator = operator
        self._routes = routes

    @cached_property
    def underWay(self) -> Mapping[EnvelopeId, str]:
        return self._routes.underWay()

    @cached_property
    def actions(self) -> Collection[str]:
        return self._operator.config.actions.keys()

    @cached_property
    def paused(self) -> Sequence[str]:
        paused: Any = self._operator.status()["paused"]
        return tuple(map(str, paused))

    @cached_property
    def isLoading(self) -> bool:
        return bool(self._operator.status()["loading"])
