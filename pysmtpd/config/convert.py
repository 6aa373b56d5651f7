"""Configurations of OpenSMTPD before 6.4 into today's: C{accept} becomes C{action} and C{match}.

The first rule that fits decides in both, so rules keep their order. Comments, blank lines, macros and includes stay where they are.
What has no counterpart stays as a comment, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pysmtpd.config.command import parseCommand
from pysmtpd.config.lexer import Kind, Lexer, Token
from pysmtpd.config.parser import parse
from pysmtpd.config.printer import quoted
from pysmtpd.config.problem import Problems, oneOf
from pysmtpd.config.words import RESERVED

# Marks a macro among the strings; a private character, which no configuration has.
_MACRO = "\ue000"

_MARGIN = "# "


@dataclass(frozen=True, slots=True)
class Converted:
    """
    @ivar reasons: C{line: why} for each directive that stayed a comment.
    @ivar notes: C{line: what} for those that somebody should look at.
    """

    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


class _Cannot(Exception):
    """This directive has no counterpart; the text says why."""


def convert(file: str, text: str) -> Converted:
    """
    @param file: its name, for messages.
    """
    return _Conversion(file, text).result()


class _Macros(dict[str, str]):
    """Stands for every macro: it gives a mark in place of a text, so that a macro stays one."""

    def get(self, key: str, default: object = None) -> str:
        return f'"{_MACRO}{key}"'


class _Conversion:
    def __init__(self, file: str, text: str) -> None:
        if not text.endswith("\n"):
            text += "\n"
        self._lines = text.split("\n")
        self._problems = Problems()
        self._problems.addFile(file, text)
        self._lexer = Lexer(file, text, _Macros(), set(), self._problems)
        self._output: list[str] = []
        self._reasons: list[str] = []
        self._notes: list[str] = []
        self._actions: dict[str, str] = {}
        self._pki: list[str] = []
        self._note = ""

    def result(self) -> Converted:
        copied = 0
        while (tokens := self._lexer.nextLine()) is not None:
            first, after = tokens[0].where.line - 1, self._lexer.line - 1
            self._copy(copied, first)
            self._directive(tokens, first, after)
            copied = after
        self._copy(copied, len(self._lines))
        text = "\n".join(self._output)
        return Converted(text, tuple(self._reasons), tuple(self._notes))

    def _copy(self, start: int, end: int) -> None:
        """Lines between directives: comments and blank ones, and what cannot be read."""
        told = {problem.where.line: problem.message for problem in self._problems.found()}
        for number in range(start, min(end, len(self._lines))):
            line = self._lines[number]
            if line.strip() and not line.lstrip().startswith("#"):
                self._keep([line], number + 1, told.get(number + 1, "it cannot be read"))
            else:
                self._output.append(line)

    def _keep(self, lines: Sequence[str], number: int, reason: str) -> None:
        self._output.append(f"# pysmtpd convert: {reason}")
        self._output += [f"{_MARGIN}{line}" for line in lines]
        self._reasons.append(f"{number}: {reason}")

    def _directive(self, tokens: list[Token], first: int, after: int) -> None:
        lines = self._lines[first:after]
        reader = _Reader(tokens)
        self._note = ""
        try:
            made = self._convert(reader, lines)
            _check(made)
        except _Cannot as cannot:
            self._keep(lines, first + 1, str(cannot))
            return
        self._output += [comment for line in lines if (comment := _comment(line))]
        if self._note:
            self._output.append(f"# pysmtpd convert: {self._note}")
            self._notes.append(f"{first + 1}: {self._note}")
        self._output += made

    def _convert(self, reader: _Reader, lines: list[str]) -> list[str]:
        """The new lines for one directive.

        @raise _Cannot: there are none.
        """
        if len(reader.tokens) > 1 and reader.tokens[1].text == "=" and reader.tokens[1].kind is Kind.MARK:
            return lines
        word = reader.next("a directive")
        handler = _HANDLERS.get(word)
        if handler is None:
            raise _Cannot(
                f'"{word}" has no counterpart' if word != "filter" else "filters are programs of another kind today"
            )
        made = handler(self, reader)
        reader.end()
        return made

    # --- rules

    def accept(self, reader: _Reader) -> list[str]:
        conditions: list[str] = []
        method = ""
        options: list[str] = []
        ttl = ""
        while (word := reader.take()) is not None:
            if self._condition(word, reader, conditions):
                continue
            if word in ("alias", "virtual", "userbase"):
                options.append(f"{word} {reader.table()}")
            elif word == "deliver":
                reader.expect("to")
                method = self._deliver(reader)
            elif word == "relay":
                method = self._relay(reader)
            elif word == "forward-only":
                method = "forward-only"
            elif word == "expire":
                ttl = f"ttl {reader.string()}"
            else:
                raise _Cannot(f'"{word}" is no part of a rule')
        if not method:
            raise _Cannot('the rule has no "deliver to", "relay" or "forward-only"')
        if method.startswith("relay") and options:
            raise _Cannot("a relay has no users: alias, virtual and userbase do not go with it")
        words = [part for part in (method, *options, ttl) if part]
        name, made = self._action(" ".join(words))
        return [*made, " ".join(["match", *conditions, f'action "{name}"'])]

    def reject(self, reader: _Reader) -> list[str]:
        conditions: list[str] = []
        while (word := reader.take()) is not None:
            if not self._condition(word, reader, conditions):
                raise _Cannot(f'"{word}" is no part of a rule that rejects')
        return [" ".join(["match", *conditions, "reject"])]

    def _condition(self, word: str, reader: _Reader, conditions: list[str]) -> bool:
        """Append what a word says of a message; False: it says something else."""
        negation = ""
        if word == "!":
            reader.expect("authenticated")
            conditions.append("! auth")
            return True
        if word == "authenticated":
            conditions.append("auth")
            return True
        if word not in ("from", "for", "sender", "recipient", "tagged"):
            return False
        if reader.isNext("!"):
            reader.next("")
            negation = "! "
        match word:
            case "from":
                kind = reader.next('"any", "local" or "source"')
                if kind == "source":
                    conditions.append(f"{negation}from src {reader.table()}")
                elif kind in ("any", "local"):
                    conditions.append(f"{negation}from {kind}")
                else:
                    raise _Cannot(f'"from {kind}" is unknown')
            case "for":
                kind = reader.next('"any", "local" or "domain"')
                if kind == "domain":
                    conditions.append(f"{negation}for domain {reader.table()}")
                elif kind in ("any", "local"):
                    conditions.append(f"{negation}for {kind}")
                else:
                    raise _Cannot(f'"for {kind}" is unknown')
            case "sender":
                conditions.append(f"{negation}mail-from {reader.table()}")
            case "recipient":
                conditions.append(f"{negation}rcpt-to {reader.table()}")
            case _:
                conditions.append(f"{negation}tag {reader.string()}")
        return True

    def _action(self, said: str) -> tuple[str, list[str]]:
        """The name of an action that does this, and its line if it is a new one."""
        if said in self._actions:
            return self._actions[said], []
        method = said.split(" ")[0]
        same = sum(1 for name in self._actions.values() if name.rstrip("0123456789").rstrip("_") == method)
        name = self._actions[said] = f"{method}_{same + 1}" if same else method
        return name, [f'action "{name}" {said}']

    def _deliver(self, reader: _Reader) -> str:
        method = reader.next("a way of delivery")
        match method:
            case "mbox":
                return "mbox"
            case "maildir":
                return f"maildir {reader.string()}" if reader.hasString() else "maildir"
            case "lmtp":
                said = f"lmtp {reader.string()}"
                if reader.isNext("rcpt-to"):
                    said += f" {reader.next('')}"
            case "mda":
                said = self._mda(reader)
            case _:
                raise _Cannot(f'"deliver to {method}" is unknown')
        if reader.isNext("as"):
            reader.next("")
            said += f" user {reader.string()}"
        return said

    def _mda(self, reader: _Reader) -> str:
        token = reader.stringToken()
        if token.text.startswith(_MACRO):
            return f"mda {_written(token)}"
        try:
            parseCommand(token.text)
        except ValueError as error:
            if "%" in token.text.replace("%%", ""):
                raise _Cannot(f"{error}; a command for the shell finds its data in the environment instead") from error
            return f"mda shell {quoted(token.text)}"
        return f"mda {quoted(token.text)}"

    def _relay(self, reader: _Reader) -> str:
        host, auth, rest = "", "", []
        tls = ""
        if reader.isNext("via"):
            reader.next("")
            host, tls = self._url(reader.stringToken())
        while (word := reader.peek()) is not None:
            if word == "as":
                reader.next("")
                rest.append(f"mail-from {self._as(reader.stringToken())}")
            elif word in ("source", "hostname", "hostnames", "pki", "ca"):
                reader.next("")
                rest.append(self._relayOption(word, reader))
            elif word == "auth" and host:
                reader.next("")
                auth = f"auth {reader.table()}"
            elif word == "verify" and host:
                reader.next("")
                tls = "tls" if tls else ""
            elif word == "tls" and not host:
                reader.next("")
                tls = "tls no-verify"
                if reader.isNext("verify"):
                    reader.next("")
                    tls = "tls"
            elif word == "backup" and not host:
                reader.next("")
                rest.append(f"backup mx {reader.string()}" if reader.hasString() else "backup")
            else:
                break
        return " ".join(part for part in ("relay", host, auth, *rest, tls) if part)

    def _relayOption(self, word: str, reader: _Reader) -> str:
        match word:
            case "source":
                return f"src {reader.table()}"
            case "hostname":
                return f"helo {reader.string()}"
            case "hostnames":
                return f"helo-src {reader.table()}"
        return f"{word} {reader.string()}"

    def _as(self, token: Token) -> str:
        if "@" not in token.text and not token.text.startswith(_MACRO):
            raise _Cannot(f'"as {token.text}" stood for {token.text} at the server\'s name: write the address out')
        return _written(token)

    def _url(self, token: Token) -> tuple[str, str]:
        """C{host URL}, and what is said of TLS besides."""
        if token.text.startswith(_MACRO):
            self._note = "the macro must hold a URL of today: smtp://, smtp+tls://, smtps:// or lmtp://"
            return f"host {_written(token)}", ""
        protocol, separator, rest = token.text.partition("://")
        if not separator:
            protocol, rest = "smtp+tls", token.text
        today = _PROTOCOLS.get(protocol.lower())
        if today is None:
            raise _Cannot(f'"{protocol}://" has no counterpart; there are smtp, smtp+tls, smtps, lmtp')
        if protocol.lower().startswith("secure"):
            self._note = "secure:// tried SMTPS before STARTTLS; this is STARTTLS alone. For SMTPS write smtps://"
        name, tls = today
        return f"host {quoted(f'{name}://{rest}')}", tls

    # --- listeners

    def listen(self, reader: _Reader) -> list[str]:
        reader.expect("on")
        interface = reader.string(mayBeReserved=("socket",))
        said: list[str] = []
        modes: list[str] = []
        hasPki = False
        hostname = ""
        while (word := reader.take()) is not None:
            if word in ("inet4", "inet6", "received-auth", "no-dsn"):
                said.append(word)
            elif word == "mask-source":
                said.append("mask-src")
            elif word == "port":
                said.append(f"port {reader.value()}")
            elif word in ("tls", "tls-require", "smtps"):
                modes.append(word)
                if reader.isNext("verify"):
                    modes[-1] += f" {reader.next('')}"
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
                said.append(f"{word} {reader.table()}")
                if reader.isNext("masquerade"):
                    said[-1] += f" {reader.next('')}"
            elif word == "filter":
                raise _Cannot("filters are programs of another kind today")
            else:
                raise _Cannot(f'"{word}" is no option of "listen on"')
        if modes and not hasPki:
            said.append(f"pki {self._defaultPki(hostname)}")
        listeners = [" ".join(part for part in (f"listen on {interface}", mode, *said) if part) for mode in modes]
        return listeners or [" ".join((f"listen on {interface}", *said))]

    def _defaultPki(self, hostname: str) -> str:
        if hostname in self._pki:
            return hostname
        if len(self._pki) == 1:
            self._note = f"a certificate must be named today; {self._pki[0]} is the only one here"
            return self._pki[0]
        raise _Cannot("a certificate must be named today: pki NAME")

    # --- the others

    def pki(self, reader: _Reader) -> list[str]:
        name = reader.string()
        made: list[str] = []
        while (word := reader.take()) is not None:
            if word in ("certificate", "key"):
                made.append(f"pki {name} {'cert' if word == 'certificate' else 'key'} {reader.string()}")
            elif word == "ca":
                made.append(f"ca {name} cert {reader.string()}")
            elif word in ("dhe", "dhparams"):
                value = reader.stringToken()
                if value.text.lower() not in ("none", "auto", "legacy"):
                    raise _Cannot(f'"{word}" takes none, auto or legacy today, and no file')
                made.append(f"pki {name} dhe {value.text.lower()}")
            else:
                raise _Cannot(f'"{word}" is no part of "pki"')
        if name not in self._pki:
            self._pki.append(name)
        return made

    def ca(self, reader: _Reader) -> list[str]:
        name = reader.string()
        reader.expect("certificate")
        return [f"ca {name} cert {reader.string()}"]

    def table(self, reader: _Reader) -> list[str]:
        name = reader.string()
        return [f"table {name} {reader.braces() if reader.isNext('{') else reader.string()}"]

    def limit(self, reader: _Reader) -> list[str]:
        room = reader.next('"session", "mda", "mta" or "scheduler"')
        if room not in ("session", "mda", "mta", "scheduler"):
            raise _Cannot(f'"limit {room}" is unknown')
        said = [f"{'smtp' if room == 'session' else room} limit"]
        while (word := reader.take()) is not None:
            if room == "mta" and word == "for":
                reader.expect("domain")
                said.append(f"for domain {reader.string()}")
            elif room == "mta" and word in ("inet4", "inet6"):
                said.append(word)
            else:
                said.append(f"{word} {reader.value()}")
        return [" ".join(said)]

    def queue(self, reader: _Reader) -> list[str]:
        word = reader.next('"compression" or "encryption"')
        if word == "encryption":
            if reader.isNext("key"):
                reader.next("")
                return [f"queue encryption {reader.string()}"]
            return ["queue encryption"]
        if word != "compression":
            raise _Cannot(f'"queue {word}" is unknown')
        return ["queue compression"]

    def bounceWarn(self, reader: _Reader) -> list[str]:
        delays = [reader.string()]
        while reader.isNext(","):
            reader.next("")
            delays.append(reader.string())
        return [f"bounce warn-interval {', '.join(delays)}"]

    def include(self, reader: _Reader) -> list[str]:
        self._note = "convert this file, too"
        return [f"include {reader.string()}"]


def _value(words: str) -> Callable[[_Conversion, _Reader], list[str]]:
    """A directive of one value, by its words of today."""
    return lambda conversion, reader: [f"{words} {reader.value()}"]


# By their protocols of old; what must be said of TLS besides, as certificates were not verified without "verify".
_PROTOCOLS = {
    "smtp": ("smtp", ""),
    "lmtp": ("lmtp", ""),
    "smtp+tls": ("smtp", ""),
    "smtps": ("smtps", "tls no-verify"),
    "tls": ("smtp+tls", "tls no-verify"),
    "smtps+auth": ("smtps", "tls no-verify"),
    "tls+auth": ("smtp+tls", "tls no-verify"),
    "secure": ("smtp+tls", "tls no-verify"),
    "secure+auth": ("smtp+tls", "tls no-verify"),
}

_HANDLERS: dict[str, Callable[[_Conversion, _Reader], list[str]]] = {
    "accept": _Conversion.accept,
    "bounce-warn": _Conversion.bounceWarn,
    "ca": _Conversion.ca,
    "ciphers": _value("smtp ciphers"),
    "expire": _value("queue ttl"),
    "include": _Conversion.include,
    "limit": _Conversion.limit,
    "listen": _Conversion.listen,
    "max-message-size": _value("smtp max-message-size"),
    "max-mta-deferred": _value("mta max-deferred"),
    "pki": _Conversion.pki,
    "queue": _Conversion.queue,
    "reject": _Conversion.reject,
    "subaddressing-delimiter": _value("smtp sub-addr-delim"),
    "table": _Conversion.table,
}


class _Reader:
    """The tokens of one directive, taken one after another."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self._at = 0

    def peek(self) -> str | None:
        """The next word or mark; None at the end, and before a string."""
        if self._at < len(self.tokens) and self.tokens[self._at].kind in (Kind.WORD, Kind.MARK):
            return self.tokens[self._at].text
        return None

    def take(self) -> str | None:
        """The next word or mark; None at the end."""
        if self._at == len(self.tokens):
            return None
        return self.next("a word")

    def next(self, wanted: str) -> str:
        if self._at == len(self.tokens):
            raise _Cannot(f"{wanted} is missing at the end")
        token = self.tokens[self._at]
        if token.kind not in (Kind.WORD, Kind.MARK):
            raise _Cannot(f'{wanted} must stand where "{token.text.lstrip(_MACRO).strip()}" does')
        self._at += 1
        return token.text

    def isNext(self, text: str) -> bool:
        return self.peek() == text

    def expect(self, *texts: str) -> None:
        found = self.next(oneOf([f'"{text}"' for text in texts]))
        if found not in texts:
            raise _Cannot(f'"{found}" stands where {oneOf(texts)} must')

    def hasString(self) -> bool:
        if self._at == len(self.tokens):
            return False
        token = self.tokens[self._at]
        return token.kind is Kind.QUOTED or (token.kind is Kind.WORD and token.text not in _OLD_WORDS)

    def stringToken(self, mayBeReserved: Sequence[str] = ()) -> Token:
        if not self.hasString() and self.peek() not in mayBeReserved:
            raise _Cannot("a name or value is missing")
        self._at += 1
        return self.tokens[self._at - 1]

    def string(self, mayBeReserved: Sequence[str] = ()) -> str:
        """A string as it is written today."""
        token = self.stringToken(mayBeReserved)
        return token.text if token.text in mayBeReserved and token.kind is Kind.WORD else _written(token)

    def value(self) -> str:
        """A string or a number."""
        if self._at < len(self.tokens) and (token := self.tokens[self._at]).kind in (Kind.NUMBER, Kind.WORD):
            self._at += 1
            return token.text
        return self.string()

    def hasTable(self) -> bool:
        return self.isNext("<") or self.isNext("{") or self.hasString()

    def table(self) -> str:
        """A table as it is written today."""
        if self.isNext("<"):
            self.next("")
            name = self.string()
            self.expect(">")
            return f"<{name}>"
        return self.braces() if self.isNext("{") else self.string()

    def braces(self) -> str:
        self.expect("{")
        entries: list[str] = []
        pair = False
        while True:
            while self._at < len(self.tokens) and (
                self.tokens[self._at].kind is Kind.NEWLINE or self.tokens[self._at].text == ","
            ):
                self._at += 1
            if self.isNext("}"):
                self.next("")
                break
            if self.isNext("=") or self.isNext("=>"):
                self.next("")
                pair = True
                entries[-1] += f" = {self.string()}"
            else:
                entries.append(self.string())
        if not entries or (pair and not all(" = " in entry for entry in entries)):
            raise _Cannot("a table holds values, or pairs, and not both")
        return "{ " + ", ".join(entries) + " }"

    def end(self) -> None:
        if self._at < len(self.tokens):
            raise _Cannot(f'"{self.tokens[self._at].text.lstrip(_MACRO)}" is not understood here')


_WORDS = """
    accept alias any as auth auth-optional authenticated backup bounce-warn ca certificate ciphers compression deliver dhe domain
    encryption expire filter for forward-only from hostname hostnames include inet4 inet6 key limit listen lmtp local maildir
    mask-source masquerade max-message-size max-mta-deferred mbox mda mta no-dsn on pki port queue rcpt-to received-auth recipient
    reject relay scheduler sender senders session smtps socket source subaddressing-delimiter table tag tagged tls tls-require to
    userbase verify via virtual
"""
_OLD_WORDS = frozenset(_WORDS.split())


def _check(made: Sequence[str]) -> None:
    """
    @raise _Cannot: today's grammar refuses it.
    """
    problems = Problems()
    lexer = Lexer("", "\n".join(made) + "\n", _Macros(), set(), problems)
    while (lexemes := lexer.nextLine()) is not None:
        parse(lexemes, problems)
    if found := problems.found():
        raise _Cannot(f"today's language refuses it: {found[0].message}")


def _written(token: Token) -> str:
    """A string as today's language takes it; a macro stays one."""
    if token.text.startswith(_MACRO):
        return "$" + token.text[1:]
    if token.kind is Kind.WORD and token.text not in RESERVED:
        return token.text
    return quoted(token.text)


def _comment(line: str) -> str:
    """What stands behind C{#} on a line, the mark included; empty: nothing."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[at:].rstrip("\\").rstrip()
    return ""
