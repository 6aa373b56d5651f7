"""What the server core says on its own, each with its enhanced code (RFC 2034, RFC 3463, the IANA registry), and how a reply is written.

Every 2xx, 4xx and 5xx reply carries an enhanced code, after HELO as well as after EHLO: a client that does not know them reads them
as text. Exempt, as in RFC 2034, are a greeting and an answer to HELO, EHLO or LHLO that welcome, and 3xx.
"""

from __future__ import annotations

from pysmtpd.model.reply import Reply

# Commands: X.5.1 invalid command, X.5.2 syntax error, X.5.4 invalid arguments.
UNRECOGNIZED = Reply(500, "Command unrecognized", "5.5.1")
EMPTY_LINE = Reply(500, "Empty command line", "5.5.2")
LINE_TOO_LONG = Reply(500, "Command line too long", "5.5.2")
BARE_LF = Reply(500, "Bare LF received; command lines end with CRLF", "5.5.2")
BAD_CHARACTER = Reply(500, "CR or NUL inside a command line", "5.5.2")
NOT_UTF8 = Reply(501, "Neither ASCII nor UTF-8", "5.5.2")
NOT_IMPLEMENTED = Reply(502, "Command not implemented", "5.5.1")
NO_ARGUMENT = Reply(501, "This command takes no argument", "5.5.4")
NEED_ARGUMENT = Reply(501, "This command needs an argument", "5.5.4")
BAD_NAME = Reply(501, "Not a domain name or address literal", "5.5.4")
MAIL_SYNTAX = Reply(501, "Syntax: MAIL FROM:<address> [parameters]", "5.5.4")
RCPT_SYNTAX = Reply(501, "Syntax: RCPT TO:<address> [parameters]", "5.5.4")
BDAT_SYNTAX = Reply(501, "Syntax: BDAT size [LAST]; cannot find the next command", "5.5.4")
PARAMETER_SYNTAX = Reply(501, "Malformed parameters", "5.5.4")
UNKNOWN_PARAMETER = Reply(555, "Parameter not recognized or not implemented", "5.5.4")

# Sequence (RFC 5321 4.1.4).
NEED_HELLO = Reply(503, "Say HELO or EHLO first", "5.5.1")
NEED_MAIL = Reply(503, "MAIL first", "5.5.1")
NEED_RCPT = Reply(503, "RCPT first", "5.5.1")
NESTED_MAIL = Reply(503, "A transaction is open; RSET ends it", "5.5.1")
NO_RECIPIENTS = Reply(554, "No valid recipients", "5.5.1")
IN_TRANSACTION = Reply(503, "Not during a mail transaction", "5.5.1")
CHUNKING = Reply(503, "Only BDAT or RSET may follow a BDAT chunk", "5.5.1")
BAD_SEQUENCE = Reply(503, "Bad sequence of commands; this session may only QUIT", "5.5.1")

# Security (RFC 3207 4, RFC 4954 4 and 6).
REQUIRETLS_NEEDS_TLS = Reply(530, "REQUIRETLS needs a session with TLS", "5.7.10")
NEED_TLS = Reply(530, "Must issue a STARTTLS command first", "5.7.0")
NEED_AUTH = Reply(530, "Authentication required", "5.7.0")
NO_TLS = Reply(502, "STARTTLS is not offered", "5.5.1")
TLS_ON = Reply(503, "TLS is on already", "5.5.1")
NO_AUTH = Reply(502, "AUTH is not offered", "5.5.1")
AUTHENTICATED = Reply(503, "Already authenticated", "5.5.1")
NEED_ENCRYPTION = Reply(538, "Encryption required for this authentication mechanism", "5.7.11")
UNKNOWN_MECHANISM = Reply(504, "Unrecognized authentication mechanism", "5.5.4")
AUTH_CANCELLED = Reply(501, "Authentication cancelled", "5.7.0")
AUTH_SYNTAX = Reply(501, "Cannot decode the response", "5.5.2")
AUTH_TOO_LONG = Reply(500, "Authentication exchange line is too long", "5.5.6")
AUTH_INVALID = Reply(535, "Authentication credentials invalid", "5.7.8")

# Content, said at its end.
MESSAGE_TOO_BIG = Reply(552, "Message size exceeds the fixed maximum", "5.3.4")
BARE_NEWLINE = Reply(554, "Message holds a bare CR or bare LF (RFC 5321 2.3.8)", "5.6.0")
TEXT_LINE_TOO_LONG = Reply(554, "Message holds a line that is too long", "5.6.0")

# Bounds.
TOO_MANY_RECIPIENTS = Reply(452, "Too many recipients; send the rest in another transaction", "4.5.3")
TOO_MANY_MAILS = Reply(452, "Too many messages in this session; connect again for more", "4.5.0")
TOO_MANY_ERRORS = Reply(421, "Too many errors, closing", "4.7.0")
TOO_MANY_COMMANDS = Reply(421, "Too many commands without a message, closing", "4.7.0")
ENDLESS_LINE = Reply(421, "A command line without end, closing", "4.7.0")
FOREIGN_PROTOCOL = Reply(500, "This is a mail server", "5.5.1")

RESET = Reply(250, "Reset", "2.0.0")
NOOP = Reply(250, "Ok", "2.0.0")
HELP = Reply(214, "See RFC 5321; EHLO lists the extensions", "2.0.0")
BYE = Reply(221, "Bye", "2.0.0")

# RFC 5321 4.5.3.1.5 allows 512 octets with the code and CRLF.
_MAX_TEXT = 480


def encodeReply(reply: Reply, *, utf8: bool = False) -> bytes:
    """C{reply} as it is written: lines cut to what RFC 5321 4.5.3.1.5 allows, an enhanced code where one is due.

    @param utf8: the peer gave SMTPUTF8, so it may be told other than ASCII (RFC 6531 3.7.4.2).
    """
    code, text, enhanced = reply.code, reply.text, reply.enhanced
    if not enhanced and not 300 <= code < 400:
        enhanced = f"{code // 100}.0.0"
    prefix = f"{enhanced} " if enhanced else ""
    if len(text) <= _MAX_TEXT and text.isascii() and "\n" not in text and "\r" not in text:
        return f"{code} {prefix}{text}\r\n".encode()
    return _encode(code, text, prefix, utf8)


def encodePlain(reply: Reply) -> bytes:
    """The same without any enhanced code: for a welcome."""
    return _encode(reply.code, reply.text, "", False)


def _encode(code: int, text: str, prefix: str, utf8: bool) -> bytes:
    width = _MAX_TEXT if text.isascii() else _MAX_TEXT // 4
    if len(text) > width or "\r" in text:
        text = "\n".join(_cut(line, width) for line in text.replace("\r", "").split("\n"))
    before, newline, last = text.rpartition("\n")
    if newline:
        before = f"{code}-{prefix}" + before.replace("\n", f"\r\n{code}-{prefix}") + "\r\n"
    return f"{before}{code} {prefix}{last}\r\n".encode("utf-8" if utf8 else "ascii", "replace")


def _cut(line: str, width: int) -> str:
    return "\n".join(line[start : start + width] for start in range(0, len(line), width))
