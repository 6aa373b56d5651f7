"""What an old rule says behind C{relay}."""

from __future__ import annotations

from pysmtpd.config.dated.context import Context
from pysmtpd.config.dated.reader import Cannot, Reader, isMacro, written
from pysmtpd.config.printer import quoted
from pysmtpd.config.token import Token
from pysmtpd.config.values import parseRelay

# By their protocols of old; what must be said of TLS besides, as certificates were not verified without "verify".
_PROTOCOLS = {
    "smtp": ("smtp", ""),
    "lmtp": ("lmtp", ""),
    "smtp+tls": ("smtp", ""),
    "smtps": ("smtps", "tls no-verify"),
    "ssl": ("smtps", "tls no-verify"),
    "tls": ("smtp+tls", "tls no-verify"),
    "smtps+auth": ("smtps", "tls no-verify"),
    "ssl+auth": ("smtps", "tls no-verify"),
    "tls+auth": ("smtp+tls", "tls no-verify"),
    "secure": ("smtp+tls", "tls no-verify"),
    "secure+auth": ("smtp+tls", "tls no-verify"),
}
_OPTIONS = {"source": "src", "hostnames": "helo-src", "hostname": "helo", "pki": "pki", "ca": "ca"}


def relay(context: Context, reader: Reader) -> str:
    """
    @raise Cannot: today has no counterpart.
    """
    host, auth, rest = "", "", []
    tls = ""
    if reader.skip("via"):
        host, tls = _url(context, reader.stringToken())
    while (word := reader.peek()) is not None:
        if word in _OPTIONS:
            reader.next("")
            value = reader.table() if word in ("source", "hostnames") else reader.string()
            rest.append(f"{_OPTIONS[word]} {value}")
        elif reader.skip("as"):
            rest.append(f"mail-from {_sender(reader.stringToken())}")
        elif host and reader.skip("auth"):
            auth = f"auth {reader.table()}"
        elif host and reader.skip("verify"):
            tls = "tls" if tls else ""
        elif not host and reader.skip("tls"):
            tls = "tls" if reader.skip("verify") else "tls no-verify"
        elif not host and reader.skip("backup"):
            rest.append(f"backup mx {reader.string()}" if reader.hasString() else "backup")
        else:
            break
    return " ".join(part for part in ("relay", host, auth, *rest, tls) if part)


def _sender(token: Token) -> str:
    if "@" not in token.text and not isMacro(token):
        raise Cannot(f'"as {token.text}" stood for {token.text} at the server\'s name: write the address out')
    return written(token)


def _url(context: Context, token: Token) -> tuple[str, str]:
    """C{host URL}, and what is said of TLS besides."""
    if isMacro(token):
        context.note = "the macro must hold a URL of today: smtp://, smtp+tls://, smtps:// or lmtp://"
        return f"host {written(token)}", ""
    protocol, separator, rest = token.text.partition("://")
    if not separator:
        protocol, rest = "smtp+tls", token.text
    today = _PROTOCOLS.get(protocol.lower())
    if today is None:
        raise Cannot(f'"{protocol}://" has no counterpart; there are smtp, smtp+tls, smtps, lmtp')
    name, tls = today
    if protocol.lower().startswith("secure"):
        if rest.endswith((":465", ":smtps")):
            name = "smtps"
        else:
            context.note = "secure:// tried SMTPS before STARTTLS; this is STARTTLS alone. For SMTPS write smtps://"
    url = f"{name}://{rest.rstrip('/')}"
    try:
        parseRelay(url)
    except ValueError as error:
        raise Cannot(str(error)) from error
    return f"host {quoted(url)}", tls
