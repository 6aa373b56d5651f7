"""Old rules: C{accept} becomes C{action} and C{match}."""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.config.command import parseCommand
from pysmtpd.config.dated.context import Context
from pysmtpd.config.dated.reader import Cannot, Reader, isMacro, written
from pysmtpd.config.dated.relays import relay
from pysmtpd.config.printer import quoted


def accept(context: Context, reader: Reader) -> list[str]:
    """
    @raise Cannot: the rule has no counterpart.
    """
    conditions = _Conditions()
    method = ""
    options: list[str] = []
    ttl = ""
    while (word := reader.take()) is not None:
        if conditions.read(word, reader):
            continue
        if word in ("alias", "virtual", "userbase"):
            options.append(f"{word} {reader.table()}")
        elif word == "deliver":
            reader.expect("to")
            method = _deliver(reader)
        elif word == "relay":
            method = relay(context, reader)
        elif word == "forward-only":
            method = "forward-only"
        elif word == "expire":
            ttl = f"ttl {reader.string()}"
        else:
            raise Cannot(f'"{word}" is no part of a rule')
    if not method:
        raise Cannot('the rule has no "deliver to", "relay" or "forward-only"')
    if method.startswith("relay") and options:
        raise Cannot("a relay has no users: alias, virtual and userbase do not go with it")
    name, made = context.action(" ".join(part for part in (method, *options, ttl) if part))
    return [*made, *conditions.rules(context, f'action "{name}"')]


def reject(context: Context, reader: Reader) -> list[str]:
    """
    @raise Cannot: the rule has no counterpart.
    """
    conditions = _Conditions()
    while (word := reader.take()) is not None:
        if not conditions.read(word, reader):
            raise Cannot(f'"{word}" is no part of a rule that rejects')
    return conditions.rules(context, "reject")


class _Conditions:
    """What an old rule says of a message, each with its mark of negation.

    Sessions that had authenticated were local to such a rule. Today they are not, so a rule about local ones becomes two.
    """

    def __init__(self) -> None:
        self._said: list[str] = []
        self._source = "local"
        self._auth: bool | None = None

    def read(self, word: str, reader: Reader) -> bool:
        """Take a condition that begins with C{word}; False: there is none."""
        if word == "authenticated" or (word == "!" and reader.expect("authenticated")):
            self._auth = word != "!"
            self._said.append("auth" if self._auth else "! auth")
            return True
        if word not in ("from", "for", "sender", "recipient", "tagged"):
            return False
        negation = "! " if reader.skip("!") else ""
        match word:
            case "from":
                kind = _anyFor(reader.next('"any", "local" or "source"'))
                if kind not in ("any", "local", "source"):
                    raise Cannot(f'"from {kind}" is unknown')
                self._source = f"{negation}{kind}"
                self._said.append(f"{negation}from {kind if kind != 'source' else f'src {reader.table()}'}")
            case "for":
                kind = _anyFor(reader.next('"any", "local" or "domain"'))
                if kind not in ("any", "local", "domain"):
                    raise Cannot(f'"for {kind}" is unknown')
                self._said.append(f"{negation}for {kind if kind != 'domain' else f'domain {reader.table()}'}")
            case "sender":
                self._said.append(f"{negation}mail-from {reader.table()}")
            case "recipient":
                self._said.append(f"{negation}rcpt-to {reader.table()}")
            case _:
                self._said.append(f"{negation}tag {reader.string()}")
        return True

    def rules(self, context: Context, end: str) -> list[str]:
        """The rules of today."""
        others = [said for said in self._said if said not in ("from local", "auth")]
        if self._source == "local" and self._auth:
            return [_rule(["from auth", *others], end)]
        if self._source == "! local" and self._auth is None and context.hasAuth:
            return [_rule([*self._said, "! auth"], end)]
        made = [_rule(self._said, end)]
        if self._source == "local" and self._auth is None:
            context.hasLocalRules = True
            if context.hasAuth:
                made.insert(0, _rule(["from auth", *others], end))
        return made


def _rule(conditions: Sequence[str], end: str) -> str:
    return " ".join(["match", *conditions, end])


def _anyFor(kind: str) -> str:
    """The word before 5.3 was another."""
    return "any" if kind == "all" else kind


def _deliver(reader: Reader) -> str:
    method = reader.next("a way of delivery")
    match method:
        case "mbox":
            return "mbox"
        case "maildir":
            said = f"maildir {reader.string()}" if reader.hasString() else "maildir"
        case "lmtp":
            said = f"lmtp {reader.string()}" + (" rcpt-to" if reader.skip("rcpt-to") else "")
        case "mda":
            said = _mda(reader)
        case _:
            raise Cannot(f'"deliver to {method}" is unknown')
    return said + (f" user {reader.string()}" if reader.skip("as") else "")


def _mda(reader: Reader) -> str:
    token = reader.stringToken()
    if isMacro(token):
        return f"mda {written(token)}"
    try:
        parseCommand(token.text)
    except ValueError as error:
        if "%" in token.text.replace("%%", ""):
            raise Cannot(f"{error}; a command for the shell finds its data in the environment instead") from error
        return f"mda shell {quoted(token.text)}"
    return f"mda {quoted(token.text)}"
