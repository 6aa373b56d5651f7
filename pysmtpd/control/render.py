"""Answers of the daemon as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import floor
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration(seconds: float) -> str:
    """The two largest units: C{2d3h}, C{4m10s}; C{0s} for nothing."""
    left = int(abs(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
        if len(parts) == 2:
            break
    return ("-" if seconds <= -1 else "") + "".join(parts)


def clean(text: str) -> str:
    """No control characters: what a peer said must not move an operator's cursor."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def cleanLines(text: str) -> str:
    """The same, of several lines."""
    return "\n".join(clean(line) for line in text.split("\n"))


def reload(done: Mapping[str, Any]) -> str:
    """What a reload has changed."""
    lines = [f"generation {done['generation']} is in use"]
    lines += [f"    {change}" for change in done["changes"] or ["nothing is different"]]
    lines += [f"warning: {warning}" for warning in done["warnings"]]
    return "\n".join(clean(line) for line in lines)


def rematch(done: Mapping[str, Any], dry: bool) -> str:
    """A line for each envelope that changes."""
    lines = []
    for row in done["envelopes"]:
        after = (
            f"held: {row['hold'].removeprefix('rematch: ')}" if row["hold"] else f'"{row["action"]}" ({row["rule"]})'
        )
        busy = "; it is being delivered, and has not changed: say it again" if row["busy"] else ""
        lines.append(
            f'{row["evpid"]} <{row["address"]}>: action "{row["old_action"]}" ({row["old_rule"]}) -> {after}{busy}'
        )
    count = done["count"]
    lines.append(f"{count} envelope{'' if count == 1 else 's'} {'would change' if dry else 'changed'}")
    return "\n".join(clean(line) for line in lines)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def tls(row: Mapping[str, Any]) -> str:
    """A line of C{show tls}."""
    if row["what"] == "mta-sts":
        text = f"MTA-STS {row['mode']} until {_day(row['until'])}: {', '.join(row['mx'])}"
    elif row["what"] == "memory":
        text = f"{row['host']}: had TLS on {_day(row['seen'])}; has to have it until {_day(row['until'])}"
    else:
        text = f"{row['host']}: {row['asks']}" + (f"\n    {clean(row['problem'])}" if row["problem"] else "")
    return cleanLines(text)


def envelope(row: Mapping[str, Any], now: float) -> str:
    """Two or three lines of C{show queue}."""
    lines = [
        f"{row['evpid']} {row['agent']} <{row['sender']}> -> <{row['recipient']}> "
        f"{row['size']} bytes, {duration(now - row['created'])} old, {row['tries']} tries"
    ]
    why = row["why"]
    if row["condition"] == "waiting":
        why += f", in {duration(max(0, row['next_try'] - now))}"
    lines.append(f"    {why}; expires in {duration(row['expires'] - now)}")
    if row["last_reply"]:
        lines.append(f"    last reply: {row['last_reply']}")
    return "\n".join(clean(line) for line in lines)


def stat(row: Sequence[Any]) -> str:
    """One line of C{show stats}. A counter has all of its digits."""
    key, value = row
    return f"{key}={int(value)}" if value == int(value) else f"{key}={round(value, 6)}"


def moment(seconds: float, now: float) -> str:
    """A time of day, and how long that is from now."""
    if not seconds:
        return "never"
    # In whole seconds, as the time of day is told: what was rounded on the way lies not in the future for that.
    left = floor(seconds) - floor(now)
    said = f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}, {said}"


def _attempt(row: Mapping[str, Any], now: float) -> str:
    when = moment(row["at"], now)
    if row["times"] > 1:
        when = f"{row['times']} times from {moment(row['since'], now)} to {when}"
    source = f" from {row['source']}" if row["source"] else ""
    tls = f", {row['tls']}" if row["tls"] else ""
    return f"{when}: {row['host'] + source + tls + ': ' if row['host'] else ''}{row['reply']}"


def detail(row: Mapping[str, Any], now: float) -> str:
    """C{show envelope}: a line for each fact, and for each attempt."""
    told = dict(row)
    told |= {name: moment(row[name], now) for name in ("created", "expires", "last_try")}
    told["next_try"] = moment(row["next_try"], now) if row["next_try"] else "no time is set"
    told["attempts"] = [_attempt(attempt, now) for attempt in row["attempts"]]
    return fields(told)


def status(row: Mapping[str, Any], now: float) -> str:
    """C{show status}."""
    told = dict(row) | {"uptime": duration(row["uptime"]), "loading": "yes" if row["loading"] else "no"}
    told["generations"] = [each | {"since": moment(each["since"], now)} for each in row["generations"]]
    return fields(told)


def fields(row: Mapping[str, Any], indent: str = "") -> str:
    """One line for each field."""
    lines = []
    for key, value in row.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{key}:")
            lines.append(fields(value, indent + "    "))
        elif isinstance(value, list):
            lines.append(f"{indent}{key}:" + ("" if value else " none"))
            lines.extend(
                fields(each, indent + "    ") if isinstance(each, Mapping) else f"{indent}    {clean(str(each))}"
                for each in value
            )
        else:
            lines.append(f"{indent}{key}: {clean(str(value))}")
    return "\n".join(lines)


def table(row: Mapping[str, Any]) -> str:
    """One line of C{show tables}, and one for what is wrong."""
    facts = [f"{row['entries']} entries"]
    if row["globs"]:
        facts.append(f"{row['globs']} of them patterns that are tried one by one")
    if row["octets"]:
        facts.append(f"about {row['octets']} bytes")
    if row["age"] is not None:
        facts.append(f"read {duration(row['age'])} ago")
    if row["problems"]:
        facts.append(f"{row['problems']} bad entries")
    text = f"{row['table']} {row['backend']} " + ", ".join(facts)
    return clean(text) + (f"\n    {clean(row['error'])}" if row["error"] else "")


def tableUpdate(update: Mapping[str, Any]) -> str:
    """What C{update table} says."""
    counts = ", ".join(f"{update[what]} {what}" for what in ("added", "removed", "changed"))
    lines = [f"{update['entries']} entries: {counts}", *update["problems"]]
    return "\n".join(clean(line) for line in lines)


def line(row: Mapping[str, Any]) -> str:
    """One row in one line: C{key=value key="a b"}."""
    return " ".join(f"{key}={value if str(value).isalnum() else json.dumps(value)}" for key, value in row.items())
