"""Statistics: an observer that turns events into counters and gauges. C{docs/metrics.md} lists the keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pysmtpd.interfaces.reporting import IStat
from pysmtpd.model import events
from pysmtpd.model.events import Event
from pysmtpd.model.ids import SessionId

MOST_DOMAINS = 1000
MOST_SESSIONS = 100_000
OTHER = "other"

_isDomain = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z").match
_RESULTS = {"Ok": "ok", "TempFail": "tempfail", "PermFail": "permfail", "Loop": "loop"}
_ACTIONS = ("delayed", "relayed", "delivered")
_AUTHENTICATION = {"ok": "ok", "permfail": "permfail", "tempfail": "tempfail"}


class Counting:
    """Counts. Keys that depend on what a peer says are bounded: beyond C{mostDomains} distinct domains, all count as C{other}."""

    def __init__(self, stat: IStat, mostDomains: int = MOST_DOMAINS) -> None:
        self._increment = stat.increment
        self._decrement = stat.decrement
        self._set = stat.set
        self._mostDomains = mostDomains
        self._domains: dict[str, dict[str, str]] = {}
        self._listeners: dict[str, _ListenerKeys] = {}
        self._sessions: dict[SessionId, _ListenerKeys] = {}
        self._handlers: dict[type[Event], Callable[[float, Any], None]] = {
            events.SessionConnected: self._sessionConnected,
            events.SessionRefused: self._sessionRefused,
            events.SessionTls: self._sessionTls,
            events.SessionAuthenticated: self._sessionAuthenticated,
            events.CommandFailed: self._commandFailed,
            events.SrsRefused: self._srsRefused,
            events.SessionDisconnected: self._sessionDisconnected,
            events.MessageAccepted: self._messageAccepted,
            events.EnvelopeAccepted: self._envelopeAccepted,
            events.ItemSetAside: self._itemSetAside,
            events.QueueFailed: self._queueFailed,
            events.EnvelopeBounced: self._envelopeBounced,
            events.EnvelopeReported: self._envelopeReported,
            events.EnvelopeRemoved: self._envelopeRemoved,
            events.EnvelopeExpired: self._envelopeExpired,
            events.DeliveryAttempted: self._deliveryAttempted,
            events.ConnectionOpened: self._connectionOpened,
            events.ConnectionTls: self._connectionTls,
            events.ConnectionAuthenticated: self._connectionAuthenticated,
            events.TlsRefused: self._tlsRefused,
            events.ConnectionClosed: self._connectionClosed,
            events.ConnectionFailed: self._connectionFailed,
            events.CredentialsRefused: self._credentialsRefused,
            events.DaemonStarted: self._daemonStarted,
            events.QueueLoaded: self._queueLoaded,
            events.Commanded: self._commanded,
            events.InternalError: self._internalError,
        }

    def __call__(self, when: float, event: Event) -> None:
        """Count C{event}; one that is not counted costs a look-up.

        @param when: seconds since the epoch.
        """
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(when, event)

    def _sessionConnected(self, when: float, event: events.SessionConnected) -> None:
        keys = self._listeners.get(event.listener)
        if keys is None:
            keys = self._listeners[event.listener] = _ListenerKeys(event.listener)
        if len(self._sessions) < MOST_SESSIONS:
            self._sessions[event.session] = keys
        address = event.address
        self._increment("smtp.session")
        self._increment(
            "smtp.session.inet6" if ":" in address else "smtp.session.inet4" if "." in address else "smtp.session.local"
        )
        self._increment(keys.session)

    def _sessionRefused(self, when: float, event: events.SessionRefused) -> None:
        self._increment("smtp.refused")

    def _sessionTls(self, when: float, event: events.SessionTls) -> None:
        self._increment("smtp.tls")

    def _sessionAuthenticated(self, when: float, event: events.SessionAuthenticated) -> None:
        self._increment("smtp.authentication." + _AUTHENTICATION.get(event.result, OTHER))

    def _srsRefused(self, when: float, event: events.SrsRefused) -> None:
        self._increment("smtp.srs.refused")

    def _commandFailed(self, when: float, event: events.CommandFailed) -> None:
        self._increment("smtp.failed-command")

    def _sessionDisconnected(self, when: float, event: events.SessionDisconnected) -> None:
        self._sessions.pop(event.session, None)
        self._decrement("smtp.session")

    def _messageAccepted(self, when: float, event: events.MessageAccepted) -> None:
        self._increment("smtp.message")
        self._increment("smtp.bytes", event.size)
        keys = self._sessions.get(event.session)
        if keys is not None:
            self._increment(keys.message)
            self._increment(keys.bytes, event.size)

    def _envelopeAccepted(self, when: float, event: events.EnvelopeAccepted) -> None:
        self._increment("smtp.envelope")

    def _itemSetAside(self, when: float, event: events.ItemSetAside) -> None:
        self._increment("queue.set-aside")

    def _queueFailed(self, when: float, event: events.QueueFailed) -> None:
        self._increment("queue.failure")

    def _envelopeBounced(self, when: float, event: events.EnvelopeBounced) -> None:
        self._increment("bounce.envelope" if event.bounce else "bounce.unreported")

    def _envelopeReported(self, when: float, event: events.EnvelopeReported) -> None:
        if event.report and event.action in _ACTIONS:
            self._increment(f"bounce.{event.action}")

    def _envelopeRemoved(self, when: float, event: events.EnvelopeRemoved) -> None:
        self._increment("queue.removed")

    def _envelopeExpired(self, when: float, event: events.EnvelopeExpired) -> None:
        self._increment("queue.expired")

    def _deliveryAttempted(self, when: float, event: events.DeliveryAttempted) -> None:
        result = _RESULTS.get(event.result, OTHER)
        if event.agent == "mda":
            self._increment("mda.delivery." + result)
            return
        self._increment("mta.delivery." + result)
        domain = event.rcpt.rpartition("@")[2]
        keys = self._domains.get(domain)
        if keys is None:
            keys = self._newDomain(domain.lower())
        self._increment(keys[result])

    def _newDomain(self, domain: str) -> dict[str, str]:
        if domain not in self._domains and (len(self._domains) >= self._mostDomains or not _isDomain(domain)):
            domain = OTHER
        keys = self._domains.get(domain)
        if keys is None:
            keys = self._domains[domain] = {
                result: f"mta.domain.{domain}.{result}" for result in (*_RESULTS.values(), OTHER)
            }
        return keys

    def _connectionOpened(self, when: float, event: events.ConnectionOpened) -> None:
        self._increment("mta.session")
        self._increment("mta.connection.ok")

    def _connectionTls(self, when: float, event: events.ConnectionTls) -> None:
        self._increment("mta.tls.verified" if event.verified else "mta.tls.unverified")

    def _connectionAuthenticated(self, when: float, event: events.ConnectionAuthenticated) -> None:
        self._increment("mta.authentication." + _AUTHENTICATION.get(event.result, OTHER))

    def _tlsRefused(self, when: float, event: events.TlsRefused) -> None:
        self._increment("mta.tls.refused")

    def _connectionClosed(self, when: float, event: events.ConnectionClosed) -> None:
        self._decrement("mta.session")

    def _connectionFailed(self, when: float, event: events.ConnectionFailed) -> None:
        self._increment("mta.connection.failed")

    def _credentialsRefused(self, when: float, event: events.CredentialsRefused) -> None:
        self._increment("mta.credentials.refused")

    def _daemonStarted(self, when: float, event: events.DaemonStarted) -> None:
        self._set("daemon.started", when)

    def _queueLoaded(self, when: float, event: events.QueueLoaded) -> None:
        self._set("queue.loaded", event.envelopes)

    def _commanded(self, when: float, event: events.Commanded) -> None:
        self._increment("control.command")

    def _internalError(self, when: float, event: events.InternalError) -> None:
        self._increment("daemon.internal-error")


class _ListenerKeys:
    """The keys of one listener, made once."""

    __slots__ = ("bytes", "message", "session")

    def __init__(self, listener: str) -> None:
        self.session = f"smtp.listener.{listener}.session"
        self.message = f"smtp.listener.{listener}.message"
        self.bytes = f"smtp.listener.{listener}.bytes"
