"""Format specifiers of smtpd.conf(5): C{%{dest.domain}}, C{%{user.username[0]}}, C{%{rcpt.user:lowercase|strip}}.

What an address says never becomes more than it was meant to be: in a path a part of one component, in a command a part of one word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

NAMES = (
    *("sender", "sender.user", "sender.domain", "rcpt", "rcpt.user", "rcpt.domain", "dest", "dest.user", "dest.domain"),
    *("user.username", "user.directory", "mbox.from"),
)

# Stands for a command's words in a wrapper, as a word of its own.
MDA = "%{mda}"

_DIRECTORY = "user.directory"
_SLICE = r"\[(?:(?P<at{0}>-?[0-9]{{1,3}})|(?P<begin{0}>-?[0-9]{{1,3}})?:(?P<end{0}>-?[0-9]{{1,3}})?)\]"
# A slice may stand before the modifiers or after them.
_SPECIFIER = re.compile(
    rf"%(?:%|\{{(?P<name>[A-Za-z.]+)(?:{_SLICE.format(1)})?(?::(?P<modifiers>[A-Za-z|]+))?(?:{_SLICE.format(2)})?\}})"
)
# What a shell or a pattern could take for its own, and what would divide a path.
_UNSAFE = str.maketrans(dict.fromkeys("!#$%&'*?`{|}~/", ":"))
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MODIFIERS = ("lowercase", "uppercase", "strip", "raw")

Strip = Callable[[str], str]


class ExpandedPath(NamedTuple):
    """
    @ivar path: with the specifiers replaced; it never ends in a slash.
    @ivar beneath: the beginning of it that no specifier had a part in; empty: none had.
    """

    path: str
    beneath: str


def checkFormat(text: str, isWrapper: bool = False) -> None:
    """
    @param isWrapper: a word of a C{mda wrapper}, which may be C{%{mda}}.
    @raise ValueError: a specifier is none; the text says what would be right.
    """
    if isWrapper and text.lower() == MDA:
        return
    if "%" in _SPECIFIER.sub("", text):
        raise ValueError("a % begins a format specifier, like %{dest.user}; %% stands for itself")
    for found in _SPECIFIER.finditer(text):
        name, modifiers = found["name"], found["modifiers"]
        if name and name.lower() == "mda":
            raise ValueError(f"{MDA} is a whole word of a wrapper, and stands nowhere else")
        if name and name.lower() not in NAMES:
            raise ValueError(f"%{{{name}}} is no format specifier; there are {', '.join(NAMES)}")
        for modifier in modifiers.lower().split("|") if modifiers else ():
            if modifier not in _MODIFIERS:
                raise ValueError(f'"{modifier}" is no modifier; there are {", ".join(_MODIFIERS)}')
        if found["end1"] is not None or found["at1"] is not None or found["begin1"] is not None:
            if found["end2"] is not None or found["at2"] is not None or found["begin2"] is not None:
                raise ValueError(f"{found.group()} has two slices")


def checkPath(text: str) -> None:
    """
    @raise ValueError: L{expandPath} could never take it.
    """
    checkFormat(text)
    if usesDirectory(text.lower().removeprefix("%{user.directory}/").removeprefix("~/")):
        raise ValueError("%{user.directory} is a whole path: it can only begin one")
    if ".." in text.split("/"):
        raise ValueError('a path leads down only: it has no ".."')


def expandWord(word: str, values: Mapping[str, str], strip: Strip) -> str:
    """One word of a command.

    @param word: one that L{checkFormat} takes.
    @param values: for each of L{NAMES}. Unless C{raw} is said, characters that are special in shells, and the slash, become colons.
    @param strip: takes a sub-address off.
    @raise ValueError: a slice takes nothing, or the word has come to begin like an option, or to hold a NUL.
    """
    if "%" not in word:
        return word
    expanded = _SPECIFIER.sub(lambda found: _value(found, values, strip), word)
    if expanded.startswith("-") and not word.startswith("-"):
        raise ValueError(f"{word} has become {expanded[:80]!r}, which a program would take for an option")
    if "\0" in expanded:
        raise ValueError(f"{word} has come to hold a NUL")
    return expanded


def expandWords(words: Sequence[str], values: Mapping[str, str], strip: Strip) -> tuple[str, ...]:
    """A command's words; there are as many after it as before.

    @raise ValueError: see L{expandWord}.
    """
    return tuple(expandWord(word, values, strip) for word in words)


def expandPath(text: str, values: Mapping[str, str], strip: Strip) -> ExpandedPath:
    """A path, in which each value is a part of one component: C{/}, NUL, controls, and dots at its beginning become colons, even with
    C{raw}. C{%{user.directory}} is the exception: the operator's own, it may begin a path, and nothing else.

    @param text: absolute, or below C{~/}.
    @raise ValueError: a component has become empty, C{.} or C{..}, or a slice takes nothing.
    """
    if "%" not in text:
        return ExpandedPath(text.rstrip("/") or "/", "")
    steps = text.rstrip("/").split("/")
    whole = _SPECIFIER.fullmatch(steps[0])
    if whole is not None and (whole["name"] or "").lower() == _DIRECTORY:
        steps[0] = values[_DIRECTORY].rstrip("/")
    done: list[str] = []
    beneath = ""
    for step in steps:
        expanded = _SPECIFIER.sub(lambda found: _component(found, values, strip), step)
        if done and expanded in ("", ".", ".."):
            raise ValueError(f"{text} has come to have {expanded!r} in place of {step}")
        if not beneath and _names(step):
            if not done:
                raise ValueError(f"{text} begins with a format specifier, so it may lead anywhere")
            beneath = "/".join(done) or "/"
        done.append(expanded)
    return ExpandedPath("/".join(done), beneath)


def usesDirectory(text: str) -> bool:
    """Must the user's home be known for this?"""
    return "%" in text and any((found["name"] or "").lower() == _DIRECTORY for found in _SPECIFIER.finditer(text))


def _names(step: str) -> bool:
    return any(found["name"] for found in _SPECIFIER.finditer(step))


def _component(found: re.Match[str], values: Mapping[str, str], strip: Strip) -> str:
    if not found["name"]:
        return "%"
    if found["name"].lower() == _DIRECTORY:
        raise ValueError(f"{found.group()} is a whole path: it can only begin one")
    value = _CONTROLS.sub(":", _value(found, values, strip)).replace("/", ":")
    bare = value.lstrip(".")
    return ":" * (len(value) - len(bare)) + bare


def _value(found: re.Match[str], values: Mapping[str, str], strip: Strip) -> str:
    if not found["name"]:
        return "%"
    name = found["name"].lower()
    value = values[name]
    modifiers = (found["modifiers"] or "").lower().split("|")
    if "strip" in modifiers:
        value = strip(value)
    value = value.lower() if "lowercase" in modifiers else value.upper() if "uppercase" in modifiers else value
    value = _sliced(value, found)
    if "raw" in modifiers or name == _DIRECTORY:
        return value
    return _CONTROLS.sub(":", value.translate(_UNSAFE))


def _sliced(value: str, found: re.Match[str]) -> str:
    """Ends that are counted from the beginning are taken, too; those that are counted from behind are not: C{[0:-4]} takes four away."""
    at = found["at1"] or found["at2"]
    first, last = found["begin1"] or found["begin2"], found["end1"] or found["end2"]
    if at is None and first is None and last is None and "[" not in found.group():
        return value
    length = len(value)
    begin = int(at or first or 0)
    begin += length if begin < 0 else 0
    if at is not None:
        end = begin + 1
    elif last is None:
        end = length
    else:
        end = int(last) + 1 if int(last) >= 0 else int(last) + length
    if not 0 <= begin < min(end, length):
        raise ValueError(f"{found.group()} takes nothing of a text of {length} characters")
    return value[begin:end]
