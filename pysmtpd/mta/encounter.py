"""One session with a host, as one domain's policy sees it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.mta.keys import Target
from pysmtpd.mta.security import Facts


class Encounter(NamedTuple):
    """
    @ivar target: the host; with what is known of it, what the domain wishes, and what follows.
    @ivar source: our address; empty: there was no connection.
    @ivar facts: what was established; None: nothing that could be used.
    @ivar certificate: why the host's certificate is not valid; empty: it is, or none was seen.
    @ivar problem: why the host was not used; empty: it was.
    @ivar isUsual: the message had no wishes of its own about TLS.
    """

    target: Target
    source: str = ""
    facts: Facts | None = None
    certificate: str = ""
    problem: str = ""
    isUsual: bool = True
