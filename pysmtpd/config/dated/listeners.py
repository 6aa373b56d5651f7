"""Old lines that listen."""

from __future__ import annotations

from pysmtpd.config.dated.context import Context
from pysmtpd.config.dated.reader import Cannot, Reader

# Words without a value, and what they are today.
_ALONE = {
    "inet4": "inet4",
    "inet6": "inet6",
    "received-auth": "received-auth",
    "no-dsn": "no-dsn",
    "mask-source": "mask-src",
    "mask-src": "mask-src",
}


def listen(context: Context, reader: Reader) -> list[str]:
    """One line, or two where TLS was to be had in two ways.

    @raise Cannot: today has no counterpart.
    """
    reader.expect("on")
    interface = reader.string(mayBeReserved=("socket",))
    said: list[str] = []
    modes: list[str] = []
    hasPki = False
    hostname = ""
    while (word := reader.take()) is not None:
        if word in _ALONE:
            said.append(_ALONE[word])
        elif word == "port":
            said.append(f"port {reader.value()}")
        elif word in ("tls", "tls-require", "smtps"):
            modes.append(word + (" verify" if reader.skip("verify") else ""))
        elif word == "secure":
            modes += ["tls", "smtps"]
        elif word in ("pki", "certificate"):
            said.append(f"pki {reader.string()}")
            hasPki = True
        elif word in ("ca", "tag", "hostname"):
            value = reader.string()
            said.append(f"{word} {value}")
            hostname = value if word == "hostname" else hostname
        elif word in ("auth", "auth-optional"):
            said.append(f"{word} {reader.table()}" if reader.hasTable() else word)
        elif word in ("hostnames", "senders"):
            said.append(f"{word} {reader.table()}" + (" masquerade" if reader.skip("masquerade") else ""))
        elif word == "filter":
            raise Cannot("filters are programs of another kind today")
        else:
            raise Cannot(f'"{word}" is no option of "listen on"')
    if modes and not hasPki:
        said.append(f"pki {_defaultPki(context, hostname)}")
    return [" ".join(part for part in (f"listen on {interface}", mode, *said) if part) for mode in modes or [""]]


def _defaultPki(context: Context, hostname: str) -> str:
    """The certificate of a listener that names none."""
    if hostname in context.pki:
        return hostname
    if len(context.pki) == 1:
        context.note = f"a certificate must be named today; {context.pki[0]} is the only one here"
        return context.pki[0]
    raise Cannot("a certificate must be named today: pki NAME")
