"""What we show to other hosts, and hold against them, in TLS; whose policy demands it is another matter."""

from __future__ import annotations

from typing import NamedTuple


class ClientKind(NamedTuple):
    """Equal ones share connections. Made of values: that two generations of a configuration call two certificates by one name must not
    make them one.

    @ivar pki: name of the certificate that is shown; empty: none.
    @ivar cert: its file.
    @ivar ca: name of the C{ca} that hosts' certificates are held against; empty: the system's.
    @ivar anchors: its file.
    @ivar ciphers: in OpenSSL's language, or one of libtls's words; empty: the default.
    @ivar protocols: as in C{"TLSv1.2,TLSv1.3"}; empty: the default.
    """

    pki: str = ""
    cert: str = ""
    ca: str = ""
    anchors: str = ""
    ciphers: str = ""
    protocols: str = ""

    def __str__(self) -> str:
        words = (("pki", self.pki), ("ca", self.ca), ("ciphers", self.ciphers), ("protocols", self.protocols))
        return " ".join(f"{word} {value}" for word, value in words if value)


USUAL = ClientKind()
