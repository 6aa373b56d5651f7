"""Every C{limit} directive: the names are those of the fields of the model's limits, in kebab-case, and OpenSMTPD's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from lark import Token

from pysmtpd.config.draft import Draft, Refused
from pysmtpd.config.machine import Node
from pysmtpd.config.parser import Directive
from pysmtpd.config.problem import Finding, didYouMean
from pysmtpd.config.values import parseDelay, parseSize
from pysmtpd.model.config import MdaLimits, MtaLimits, QueueLimits, SchedulerLimits, SmtpLimits

L = TypeVar("L", SmtpLimits, MtaLimits, MdaLimits, SchedulerLimits, QueueLimits)

_CAPITAL = re.compile(r"[A-Z]")
# Fields that directives of their own set.
_ELSEWHERE = ("maxMessageSize", "family", "ttl")
_SHARES = ("minFreeSpace", "minFreeInodes")
_MAY_BE_ZERO = ("maxSessions", "fileThreshold", "taskLowat")
_SYNONYMS = {"max-evp-batch-size": "maxBatch"}
# They size steps of OpenSMTPD's own machinery, of which there is nothing here.
_WITHOUT_EFFECT = ("max-schedule", "max-msg-batch-size")


def limitNames(limits: object) -> Mapping[str, str]:
    """The words that a C{limit} directive takes, and the fields they set."""
    names = [field.name for field in fields(limits) if field.name not in _ELSEWHERE]  # type: ignore[arg-type]
    return {_CAPITAL.sub(lambda capital: "-" + capital[0].lower(), name): name for name in names}


def withLimits(draft: Draft, directive: Directive, limits: L, settings: Sequence[Node | Token]) -> L:
    """C{limits} with what the directive sets; each mistake is told."""
    names = dict(limitNames(limits))
    if isinstance(limits, SchedulerLimits):
        names |= _SYNONYMS
    for setting in settings:
        if isinstance(setting, Token) or setting.data != "limit":
            continue
        if draft.problems.isFull:
            break
        word, token = str(setting.children[0]), setting.children[1]
        assert isinstance(token, Token)
        value = str(token)
        # Numbers are all of them good for OpenSMTPD; a text is our own.
        finding = Finding.CHECK if token.type == "NUMBER" else Finding.LANGUAGE
        with draft.recovering():
            name = names.get(word)
            if name is None:
                if isinstance(limits, SchedulerLimits) and word in _WITHOUT_EFFECT:
                    if token.type != "NUMBER" and not (value.isascii() and value.isdigit()):
                        raise Refused(directive.where(token), f"limit {word}: a whole number must stand here")
                    draft.problems.warn(directive.where(setting), f'"limit {word}" has no effect here')
                    continue
                raise Refused(directive.where(setting), f'there is no limit "{word}"{didYouMean(word, names)}')
            try:
                change: dict[str, Any] = {name: _value(name, value, getattr(limits, name))}
                limits = replace(limits, **change)
            except ValueError as error:
                raise Refused(directive.where(token), f"limit {word}: {error}", finding) from error
    return limits


def _value(name: str, text: str, default: float | int) -> float | int:
    isNumber = text.isascii() and text.isdigit()
    if name in _SHARES:
        percent = text.removesuffix("%")
        if not (percent.isascii() and percent.isdigit() and len(percent) <= 3 and int(percent) <= 100):
            raise ValueError("a percentage from 0 to 100 must stand here")
        return int(percent) / 100
    if isinstance(default, float):
        mayBeZero = "elay" in name or name == "gather"
        return parseDelay(f"{text}s" if isNumber else text, allowZero=mayBeZero, allowMilliseconds=True)
    if not isNumber and name != "fileThreshold":
        raise ValueError("a whole number must stand here")
    if name in _MAY_BE_ZERO and isNumber and not text.strip("0"):
        return 0
    size = parseSize(text)
    if not size:
        raise ValueError("it must be more than nothing")
    return size
