"""What to say of a character that no word of the language begins with."""

from __future__ import annotations

from collections.abc import Sequence

_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
# A command stands behind these, or behind these and a name.
_COMMANDS = frozenset({"mda", "proc-exec", "wrapper"})
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def unexpectedStart(character: str, word: str, before: Sequence[str]) -> str:
    """What is wrong with a character that no word begins with.

    @param word: it, and what stands behind it.
    @param before: the tokens of the line before it.
    """
    code = ord(character)
    if character == "\r":
        return "a carriage return stands here; lines end with a line feed alone"
    if 0xDC80 <= code <= 0xDCFF:
        return f"the octet 0x{code - 0xDC00:02X} stands here, which is not UTF-8; save the file as UTF-8"
    if character in _QUOTES:
        return f"{character} is no quote of this language: \" or ' must stand here"
    if character in _INVISIBLE or (character.isspace() and not character.isascii()):
        return f"a character that cannot be seen (U+{code:04X}) stands here; remove it, or write a blank"
    if not character.isprintable():
        return f"an unexpected character (U+{code:04X}) stands here"
    if before[-1:] == ["on"] and character == "*":
        return 'all addresses are "0.0.0.0" and "::": listen on each of them'
    if before[-1:] == ["on"] and character == "[":
        return "an address is listened on without brackets"
    if before and before[-1] not in _COMMANDS and not _COMMANDS.isdisjoint(before):
        return "a command of several words stands in quotes as a whole"
    return f'a word cannot start with "{character}"; put it in quotes: "{word}"'
