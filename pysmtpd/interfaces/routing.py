"""Deciding: tables, the router, DNS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import Service, UserInfo
from pysmtpd.model.tlsa import Tlsa
from pysmtpd.model.value import value

__all__ = [
    "FOREVER",
    "AddressAnswer",
    "ForwardRefused",
    "IAuthenticator",
    "IForwardReader",
    "IResolver",
    "IRouter",
    "IScreen",
    "ITable",
    "Lookup",
    "MxAnswer",
    "MxHost",
    "Service",
    "TableError",
    "TableUpdate",
    "TextAnswer",
    "TlsaAnswer",
    "Updated",
]

FOREVER = float("inf")


class TableError(Exception):
    """A table cannot answer now: a temporary failure, never a wrong answer."""


@value
class TableUpdate:
    """What reading a table's source again has found.

    @ivar entries: in all, now.
    @ivar changed: keys with another value.
    @ivar globs: patterns that are tried one by one.
    @ivar octets: memory, by a rule of thumb; 0: the source is asked each time.
    @ivar problems: what is wrong with single entries, each with its place; asking for one is a L{TableError}.
    """

    entries: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    globs: int = 0
    octets: int = 0
    problems: tuple[str, ...] = ()


class Updated(NamedTuple):
    """What came of reading a table's source again."""

    table: ITable
    update: TableUpdate


class ITable(Interface):
    """One table. Keys are text, in lower case where the service ignores case (the front does that)."""

    name: str = Attribute("Its name in the configuration.")
    allowsCommands: bool = Attribute(
        "Its values may name commands (C{|command}), files (C{/path}) and C{:include:}s: nobody but root and the daemon's user can have "
        "written them, or the configuration says C{allow-commands}."
    )

    def match(service: Service, key: str) -> Ready[bool]:
        """Does any entry match (domain, netaddr, mailaddr, string, regex)?

        @raise TableError: (or a Deferred that fails with it)
        """

    def lookup(service: Service, key: str) -> Ready[str | None]:
        """The value of a map for exactly this key; None: no such key.

        @raise TableError:
        """

    def fetch(service: Service) -> Ready[str | None]:
        """The next entry, in turn, beginning anywhere (source, relayhost); None: the table is empty.

        @raise TableError:
        """

    def update() -> Deferred[Updated]:
        """Read its source again. This table goes on as it is, for those who began with it.

        @return: the table from now on, and what has changed. One that keeps nothing of its source gives itself.
        @raise TableError: the source cannot be read, or is wrong; the text says where.
        """

    def close() -> Deferred[None]:
        """Nobody uses it any more: let go of what it holds. Whoever asks all the same gets a right answer or a L{TableError}."""


class IScreen(Interface):
    """Tells of all tables of a generation at once which are worth a question."""

    def holders(service: Service, key: str) -> list[str]:
        """The tables that may have an entry which matches (domain, netaddr, mailaddr, string), some perhaps twice; others have none."""


class IRouter(Interface):
    """Decides what becomes of an address."""

    def expand(config: Config, path: Path, transaction: Transaction) -> Ready[Decision]:
        """Never fails: what cannot be answered becomes a decision with a 4xx refusal."""


class ForwardRefused(Exception):
    """There is a C{.forward}, and it must not be used: it is a link, or others could have written it. The text says why."""


class IForwardReader(Interface):
    """Reads the C{.forward} of users, as these users: with their rights and no others."""

    def read(user: UserInfo) -> Deferred[str | None]:
        """The text of the file; None: there is none.

        @raise ForwardRefused: it must not be used.
        @raise OSError: it cannot be told now: the home is away or does not answer, the file is too large, too many are being read.
        """


class IAuthenticator(Interface):
    """Checks passwords against a table of credentials or the system."""

    def authenticate(config: Config, table: str, user: str, password: bytes, peer: str = "") -> Deferred[bool]:
        """
        @param table: name of the table of credentials; empty: the system's users.
        @param peer: from where it is tried, for the system's own log.
        @raise TableError: it cannot be told now.
        """


class Lookup(Enum):
    """How a question to DNS ended, other than with records."""

    FOUND = "found"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    FAILED = "failed"


@value
class MxHost:
    preference: int
    host: str


@value
class MxAnswer:
    """
    @ivar hosts: sorted by preference. A null MX (RFC 7505) is one host with an empty name.
    @ivar secure: DNSSEC-validated by a resolver that may be trusted.
    @ivar error: when C{status} is FAILED: why, for people.
    @ivar canonical: the name at the end of the CNAME chain; empty: there is no chain.
    @ivar until: monotonic seconds until which it may be believed.
    """

    status: Lookup
    hosts: tuple[MxHost, ...] = ()
    secure: bool = False
    error: str = ""
    canonical: str = ""
    until: float = field(default=FOREVER, compare=False)


@value
class AddressAnswer:
    """
    @ivar addresses: IPv6 and IPv4, textual.
    @ivar canonical: the name at the end of the CNAME chain.
    @ivar until: as of L{MxAnswer}.
    """

    status: Lookup
    addresses: tuple[str, ...] = ()
    secure: bool = False
    canonical: str = ""
    error: str = ""
    until: float = field(default=FOREVER, compare=False)


@value
class TlsaAnswer:
    """
    @ivar records: those of a form that can be read, usable or not.
    @ivar malformed: how many there were beside them. They exist, so TLS is mandatory; they authenticate nobody (RFC 7672 2.2).
    @ivar until: as of L{MxAnswer}.
    """

    status: Lookup
    records: tuple[Tlsa, ...] = ()
    secure: bool = False
    error: str = ""
    malformed: int = 0
    until: float = field(default=FOREVER, compare=False)


@value
class TextAnswer:
    """
    @ivar texts: of each TXT record all its strings, joined; octets that are not ASCII are replaced.
    """

    status: Lookup
    texts: tuple[str, ...] = ()
    secure: bool = False
    error: str = ""


class IResolver(Interface):
    """DNS. One question in flight is asked once, whoever waits. Answers are kept for their TTL. Never fails: see C{status}."""

    def mx(domain: str) -> Deferred[MxAnswer]: ...

    def addresses(host: str, family: str = "") -> Deferred[AddressAnswer]:
        """
        @param family: C{"inet4"}, C{"inet6"} or empty for both.
        """

    def tlsa(host: str, port: int) -> Deferred[TlsaAnswer]:
        """TLSA records of C{_port._tcp.host} (RFC 6698 3)."""

    def text(name: str) -> Deferred[TextAnswer]:
        """TXT records; the name may have labels that begin with an underscore."""

    def ptr(address: str) -> Deferred[Sequence[str]]:
        """Names; empty when there are none or the question failed."""

    def confirmedName(address: str) -> Deferred[str]:
        """The PTR name whose own addresses hold C{address} (FCrDNS); empty: none."""
