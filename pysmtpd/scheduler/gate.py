"""Between dispatcher and agent: envelopes whose action the configuration does not have any more wait until it is back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.delivery import IAgent, IOutcomes
from pysmtpd.model.action import Action, Method
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Agent, Destination
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.schedule import CHANGED, VANISHED, Delivery

_REMOTE = (Method.RELAY, Method.LMTP)


def holdKey(actions: Mapping[str, Action], destination: Destination) -> str:
    """In which hold queue an envelope has to wait because of its action; empty: in none, it may be tried."""
    action = actions.get(destination.action)
    if action is None:
        return f"{VANISHED}{destination.action}"
    if destination.command or destination.file:
        isRight = action.method is not Method.RELAY
    else:
        isRight = (action.method in _REMOTE) is (destination.agent is Agent.MTA)
    return "" if isRight else f"{CHANGED}{destination.action}"


@implementer(IAgent)
class ActionGate:
    """An agent that is never asked for what the configuration cannot do. It costs an envelope a look into a mapping."""

    def __init__(self, agent: IAgent, config: Callable[[], Config]) -> None:
        """
        @param config: tells the newest generation.
        """
        self._agent = agent
        self._config = config
        self.capacity = agent.capacity
        self.pause = agent.pause
        self.resume = agent.resume
        # What it knows of an action, it knows of one that the configuration has.
        self.foregone = agent.foregone

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        """See L{IAgent.deliver}."""
        actions = self._config().actions
        held: dict[str, list[EnvelopeId]] = {}
        for envelope in delivery.envelopes:
            key = holdKey(actions, envelope.destination)
            if key:
                held.setdefault(key, []).append(envelope.id)
        if held:
            ids = [id for each in held.values() for id in each]
            rest = tuple(envelope for envelope in delivery.envelopes if envelope.id not in ids)
            for key, each in held.items():
                outcomes.hold(each, key)
            if not rest:
                return
            delivery = delivery._replace(envelopes=rest)
        self._agent.deliver(delivery, outcomes)

    def stop(self) -> Deferred[None]:
        """See L{IAgent.stop}."""
        return self._agent.stop()
