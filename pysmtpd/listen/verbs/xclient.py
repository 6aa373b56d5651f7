"""XCLIENT: the proxy at the other end tells who its client is. From here on this is that client's session, from its greeting on."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pysmtpd.interfaces import Phase
from pysmtpd.listen.session import Session
from pysmtpd.listen.verbs.connect import confirmedName, greet, nameOurselves
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Xclient

# What is said of a peer that nobody can name.
UNKNOWN = ""


def announced(session: Session, event: Xclient) -> None:
    """Forget all that was said, and begin anew with what the proxy tells. None of it counts as local."""
    address = event.address or session.peer
    if address != session.peer:
        refusal = session.wire.moved(address)
        if refusal is not None:
            session.refuse("XCLIENT", refusal, f"the client {address}")
            return
    session.endTransaction()
    session.via = session.peer
    session.peer, session.peerPort = address, event.port
    session.verb, session.helo, session.user = "", event.helo, event.login
    session.failures = 0
    if event.destination:
        session.localAddress = event.destination
        session.localPort = event.destinationPort or session.localPort
    session.changed()
    session.later(Deferred.fromCoroutine(_name(session, event)), lambda name: _named(session, name))


async def _name(session: Session, event: Xclient) -> str:
    """The client's name: as the proxy knows it, or else as DNS does."""
    if session.profile.spec.hostnames is not None:
        await nameOurselves(session)
    if event.name is not None:
        return event.name
    if event.address is None:
        return session.rdns
    if not event.address or isLoopback(event.address):
        return UNKNOWN
    return await confirmedName(session)


def _named(session: Session, name: str) -> None:
    session.rdns = name
    session.changed()
    session.tellAnnounced("xclient")

    def refused(reply: Reply, reason: str) -> None:
        # Who is not let in must not go on as whom it was before.
        session.refuse("XCLIENT", reply, reason)
        session.wire.finish()

    session.consult(Phase.CONNECT, session.peer, "XCLIENT", lambda value: greet(session), refused)
