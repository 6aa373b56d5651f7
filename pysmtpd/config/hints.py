"""What people write where the language takes something else, and what they should write instead.

What they give is appended to a message.
"""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.config.dated.words import dated
from pysmtpd.config.problem import didYouMean
from pysmtpd.config.token import Kind, Token

# What a single directive takes so many of that a list of all helps nobody.
_MANY = {
    "action": "an option of this method",
    "filter": "what is tested, or what is done",
    "listen": 'an option of "listen on"',
    "match": 'a condition, "action" NAME or "reject"',
}
_METHODS = ("expand-only", "forward-only", "lmtp", "maildir", "mbox", "mda", "relay")
# Words of other programs' languages, and ours.
_SYNONYMS = {
    "not": "!",
    "starttls": "tls",
    "ssl": "smtps",
    "to": "for",
    "rcpt": "rcpt-to",
    "recipient": "rcpt-to",
    "sender": "mail-from",
    "certificate": "cert",
    "interface": "on",
}


def tokenHint(lexemes: Sequence[Token], index: int, accepted: set[str]) -> str:
    """
    @param index: of the token that cannot stand where it does.
    @param accepted: the words and marks that could.
    """
    first, lexeme, before = lexemes[0].text, lexemes[index], lexemes[index - 1].text
    old = dated(first, lexeme.text) if lexeme.kind is Kind.WORD else ""
    if old:
        return f"; {old}"
    if any(each.spans for each in lexemes[:index]):
        opened = next(each for each in lexemes if each.spans)
        return f"; the quote that opens in line {opened.where.line} is closed in a later one"
    if lexeme.text == "{":
        if index + 1 < len(lexemes) and lexemes[index + 1].text == "{":
            return "; {{ ... }} is of a template, which was not filled in"
        return "; options need no braces: a backslash at the end of a line continues it"
    if lexeme.text == "!" and before in ("from", "for"):
        return f"; the mark stands before the condition: ! {before} ..."
    if lexeme.text in ("=", "=>"):
        isTable = any(each.text == "{" for each in lexemes[:index])
        return (
            f"; {'a table holds values, or pairs, and not both' if isTable else 'a value stands behind its word alone'}"
        )
    if first == "action" and index == 1 and lexeme.text in _METHODS and not _isMethod(lexemes, 2):
        return f'; the name of the action is missing: action "NAME" {lexeme.text}'
    if first == "match" and (hint := _matchHint(lexemes, index, accepted)):
        return hint
    if lexeme.text == "<":
        return "; brackets stand around the name of a table where it is used"
    if first == "filter" and lexeme.text == "!":
        return "; a filter tests one thing, and a chain puts several together"
    if first == "listen" and lexeme.text == ",":
        return "; each address has a line of its own"
    if first == "action" and before == "as":
        return '; did you mean "user"?'
    if lexeme.text in _SYNONYMS and _SYNONYMS[lexeme.text] in accepted:
        return f'; did you mean "{_SYNONYMS[lexeme.text]}"?'
    return ""


def _isMethod(lexemes: Sequence[Token], index: int) -> bool:
    return index < len(lexemes) and lexemes[index].text in _METHODS


def _matchHint(lexemes: Sequence[Token], index: int, accepted: set[str]) -> str:
    text, before = lexemes[index].text, lexemes[index - 1].text
    if before == "reject":
        return "; a rule rejects without a text"
    if text == "domain":
        return '; did you mean "for domain"?'
    if (text in _METHODS or text == "deliver") and before != "action":
        return '; a rule names an action that is declared above it: action "NAME"'
    if before in ("for", "from"):
        if text == "all":
            return '; did you mean "any"?'
        if text.isalpha() and (near := didYouMean(text, sorted(accepted))):
            return near
        value = "<...>" if text == "<" else f'"{text}"'
        return f"; did you mean: {'for domain' if before == 'for' else 'from src'} {value}?"
    if text in ("or", "and", ","):
        return "; several values stand in braces, { a, b }, and all conditions of a rule must hold"
    if text == "accept":
        return '; a rule ends with "action" NAME, or "reject"'
    if index > 2 and lexemes[index - 2].text in (
        "domain",
        "src",
        "mail-from",
        "rcpt-to",
        "helo",
        "tag",
        "rdns",
        "auth",
    ):
        return "; several values stand in braces: { a, b }"
    return ""


def manyOf(first: str) -> str:
    """What could stand in a line that begins with a word, where a list would be too long; empty: nothing is known."""
    return _MANY.get(first, "")


def wordHint(first: str, word: str) -> str:
    """What to say of a word that was taken for a value in a line that begins with another."""
    old = dated(first, word)
    return f', not "{word}"; {old}' if old else ""


def numberHint(lexemes: Sequence[Token], index: int) -> str:
    """What is wrong with a number where a text must stand; a message of its own."""
    number, before = lexemes[index].text, lexemes[index - 1].text
    if before in ("ttl", "warn-interval", "per") or (lexemes[0].text == "bounce" and before == ","):
        return f"a time needs a unit: {number}s, {number}m, {number}h or {number}d"
    return f"the number {number} must be put in quotes here"
