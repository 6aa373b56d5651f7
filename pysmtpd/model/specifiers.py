"""Format specifiers of smtpd.conf(5): C{%{dest.domain}}, C{%{user.username[0]}}, C{%{rcpt.user:lowercase|strip}}."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

NAMES = (
    *("sender", "sender.user", "sender.domain", "rcpt", "rcpt.user", "rcpt.domain", "dest", "dest.user", "dest.domain"),
    *("user.username", "mbox.from"),
)

_SPECIFIER = re.compile(
    r"%(?:%|\{(?P<name>[A-Za-z.]+)(?::(?P<modifiers>[A-Za-z|]+))?"
    r"(?:\[(?:(?P<at>-?[0-9]{1,3})|(?P<begin>-?[0-9]{1,3})?:(?P<end>-?[0-9]{1,3})?)\])?\})"
)
# What a shell or a pattern could take for its own, and what would divide a path.
_UNSAFE = str.maketrans(dict.fromkeys("!#$%&'*?`{|}~/\0", ":"))
_MODIFIERS = ("lowercase", "uppercase", "strip", "raw")


def checkFormat(text: str) -> None:
    """
    @raise ValueError: a specifier is none; the text says what would be right.
    """
    if "%" in _SPECIFIER.sub("", text):
        raise ValueError("a % begins a format specifier, like %{dest.user}; %% stands for itself")
    for found in _SPECIFIER.finditer(text):
        name, modifiers = found["name"], found["modifiers"]
        if name and name.lower() not in NAMES:
            raise ValueError(f"%{{{name}}} is no format specifier; there are {', '.join(NAMES)}")
        for modifier in modifiers.lower().split("|") if modifiers else ():
            if modifier not in _MODIFIERS:
                raise ValueError(f'"{modifier}" is no modifier; there are {", ".join(_MODIFIERS)}')


def expandFormat(text: str, values: Mapping[str, str], strip: Callable[[str], str]) -> str:
    """
    @param text: one that L{checkFormat} takes.
    @param values: for each of L{NAMES}. Characters that are special in shells, and the slash, become colons.
    @param strip: takes a sub-address off.
    @raise ValueError: a slice begins behind its end.
    """

    def replace(found: re.Match[str]) -> str:
        if not found["name"]:
            return "%"
        value = values[found["name"].lower()]
        modifiers = (found["modifiers"] or "").lower().split("|")
        if "strip" in modifiers:
            value = strip(value)
        value = value.lower() if "lowercase" in modifiers else value.upper() if "uppercase" in modifiers else value
        value = _sliced(value, found)
        # A value never names more than one step of a path, raw or not.
        return value.replace("/", ":").replace("\0", ":") if "raw" in modifiers else value.translate(_UNSAFE)

    return _SPECIFIER.sub(replace, text)


def _sliced(value: str, found: re.Match[str]) -> str:
    """Both ends count; negative ones from behind."""
    if found["at"] is None and found["begin"] is None and found["end"] is None:
        return value
    length = len(value)

    def place(text: str | None, otherwise: int) -> int:
        number = int(text) if text else otherwise
        return number + length if number < 0 else number

    begin = place(found["at"] or found["begin"], 0)
    end = begin if found["at"] else place(found["end"], length - 1)
    if not 0 <= begin <= end or begin >= length:
        raise ValueError(f"{found.group()} takes nothing of a text of {length} characters")
    return value[begin : end + 1]
