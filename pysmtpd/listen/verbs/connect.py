"""A new connection: who is it, and may it come in?"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from pysmtpd.interfaces import Phase, Service, TableError, asDeferred
from pysmtpd.listen.profile import makeBanner
from pysmtpd.listen.session import Session
from pysmtpd.model.config import TableRef
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.smtp.events import Connect
from pysmtpd.smtp.xclient import ATTRIBUTES, LOGIN

RDNS_TIMEOUT = 5.0

# Where users are looked up.
LANE = "users"


def connected(session: Session, event: Connect) -> None:
    """Ask DNS for the peer's confirmed name, then greet. Loopback is not asked about; a slow answer is not waited for."""
    if session.profile.asksFirst:
        session.later(Deferred.fromCoroutine(_ask(session)), lambda done: _identify(session))
    else:
        _identify(session)


def _identify(session: Session) -> None:
    peer = session.peer
    if session.profile.spec.isSocket:
        _named(session, session.profile.config.serverName)
    elif isLoopback(peer):
        _named(session, "" if session.via else "localhost")
    else:
        session.later(confirmedName(session), lambda name: _named(session, name))


def confirmedName(session: Session) -> Deferred[str]:
    """The peer's name, or an empty one when it takes longer than L{RDNS_TIMEOUT}. The question itself goes on: others may share it."""
    result: Deferred[str] = Deferred()
    call = session.near.platform.clock.callLater(RDNS_TIMEOUT, result.callback, "")

    def answered(name: str) -> None:
        if call.active():
            call.cancel()
            result.callback(name)

    def failed(failure: object) -> None:
        answered("")

    session.near.resolver.confirmedName(session.peer).addCallbacks(answered, failed)
    return result


async def _ask(session: Session) -> None:
    """Who is at the local socket, what we are called here, and whether XCLIENT is for this peer."""
    spec = session.profile.spec
    if spec.isSocket:
        session.user = await _localUser(session)
    if spec.hostnames is not None:
        await nameOurselves(session)
    if spec.xclient is not None and await _mayAnnounce(session, spec.xclient):
        session.wire.offerXclient((*ATTRIBUTES, LOGIN) if spec.xclientLogin else ATTRIBUTES)
    session.changed()


async def _mayAnnounce(session: Session, proxies: TableRef) -> bool:
    """A table that cannot tell makes nobody trusted."""
    try:
        return await asDeferred(session.match(proxies, Service.NETADDR, session.peer))
    except TableError as error:
        session.note(f"XCLIENT is not offered: {error}")
        return False


async def _localUser(session: Session) -> str:
    """The system's name of who has connected; C{uid:N} where it has none."""
    if session.uid < 0:
        return ""
    platform = session.near.platform
    try:
        user = await platform.workers.run(LANE, platform.users.byUid, session.uid)
    except OSError:
        user = None
    return user.name if user is not None else f"uid:{session.uid}"


async def nameOurselves(session: Session) -> None:
    """By what name we are known where the peer has connected to.

    A table that cannot tell costs nobody a session: the listener's own name is right, too.
    """
    hostnames = session.profile.spec.hostnames
    assert hostnames is not None
    try:
        name = await asDeferred(session.lookup(hostnames, Service.ADDRNAME, session.localAddress))
    except TableError as error:
        session.note(f"no name for {session.localAddress}: {error}")
        return
    if name:
        session.hostname = name


def _named(session: Session, name: str) -> None:
    if session.isOver:
        return
    session.rdns = name
    session.changed()
    session.tellConnected()
    session.consult(Phase.CONNECT, session.peer, "connect", lambda value: greet(session))


def greet(session: Session) -> None:
    """The 220."""
    profile = session.profile
    isUsual = session.hostname == profile.hostname
    session.wire.answer(profile.banner if isUsual else makeBanner(session.hostname, profile.spec.lmtp))
