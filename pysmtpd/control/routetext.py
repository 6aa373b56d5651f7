"""Where mail goes, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pysmtpd.control.render import clean, duration

Row = Mapping[str, Any]


def _bound(row: Row, now: float) -> str:
    """The one constraint."""
    constraint = row["constraint"]
    left = duration(constraint["until"] - now) if constraint["until"] else ""
    if constraint["kind"] == "none":
        return (constraint["text"] or "goes") + (f", at most {left}" if left else "")
    text = constraint["kind"] + (f": {constraint['text']}" if constraint["text"] else "")
    return text + (f", for {left}" if left else "")


def _text(lines: Sequence[str]) -> str:
    return "\n".join(clean(line) if not number else f"    {clean(line)}" for number, line in enumerate(lines))


def _trouble(row: Row, now: float) -> list[str]:
    """The last error, as far as it is not the constraint."""
    if not row["error"]:
        return []
    if row["error"] == row["constraint"]["text"]:
        return [f"{row['failures']} times in a row"] * (row["failures"] > 1)
    times = f" ({row['failures']} times in a row)" if row["failures"] > 1 else ""
    return [f"last error{times}: {row['error']}{_again(row, now)}"]


def _again(row: Row, now: float) -> str:
    """When it is tried again, as far as the constraint does not say it."""
    isSaid = row["next_try"] == row["constraint"]["until"]
    return f"; next try in {duration(row['next_try'] - now)}" if row["next_try"] and not isSaid else ""


def relay(row: Row, now: float) -> str:
    """C{show relays}."""
    lines = [
        f"{row['relay']}: {row['state']}, {row['backlog']} messages ({row['envelopes']} envelopes), {row['held']} held",
        _bound(row, now),
    ]
    if row["hosts"]:
        lines.append(f"hosts: {', '.join(row['hosts'])}")
    lines += [f"source skipped: {source}" for source in row["sources_skipped"]]
    bound = row["constraint"]["text"]
    if row["error"] and not (bound and bound in row["error"]):
        lines.append(f"last error: {row['error']}{_again(row, now)}")
    return _text(lines)


def route(row: Row, now: float) -> str:
    """C{show routes}."""
    source = f"{row['source']} > " if row["source"] else ""
    port = f":{row['port']}" if row["port"] else ""
    lines = [
        f"{source}{row['protocol']}://{row['address']}{port} {row['host']}: {row['state']}, {row['connections']} connections "
        f"({row['idle']} idle), {row['waiting']} transactions wait, {row['delivered']} delivered",
        _bound(row, now),
        *_trouble(row, now),
    ]
    more = [f"credentials {row['credential']}"] * bool(row["credential"]) + [row["tls"]] * bool(row["tls"])
    return _text([*lines, *([", ".join(more)] if more else [])])


def host(row: Row, now: float) -> str:
    """C{show hosts}."""
    lines = [
        f"{row['address']} {row['name']}: {row['state']}, {row['pace']}, {row['connections']} connections, {row['delivered']} delivered",
        _bound(row, now),
        *_trouble(row, now),
    ]
    if row["rcpt_max"]:
        lines.append(f"takes {row['rcpt_max']} recipients at a time")
    if row["asked_for_patience"]:
        lines.append(f"asked for patience: {row['asked_for_patience']}")
    return _text(lines)


def hostStat(row: Row, now: float) -> str:
    """C{show hoststats}."""
    return _text(
        [
            f"{row['domain']}: {row['state']}, {duration(now - row['at'])} ago, {row['delivered']} delivered, "
            f"{row['deferred']} wait for a host",
            _bound(row, now),
            f"last reply: {row['status']}{_again(row, now)}",
        ]
    )


def connection(row: Row, now: float) -> str:
    """C{show connections}."""
    source = f"{row['source']} > " if row["source"] else ""
    under = f", message {row['message']} to {row['recipients']} recipients" if row["message"] else ""
    return _text(
        [
            f"{row['session']} {source}{row['host']} {row['protocol']}: {row['state']}, {row['messages']} messages{under}",
            _bound(row, now),
            row["tls"] or "plain text",
            *([f"last error: {row['error']}{_again(row, now)}"] if row["error"] else []),
        ]
    )


def limit(row: Row, now: float) -> str:
    """C{show limits}."""
    lines = [f"{row['limit']}: {row['waiting']} envelopes wait"]
    if row["kind"] == "back-off":
        lines[0] += f", one transaction in {row['pace']:g} s"
        lines.append(f"{row['complaints']} complaints, the last {duration(now - row['last'])} ago: {row['reply']}")
    elif row["kind"] == "connections":
        lines = [f"{row['limit']}: {row['open']} are open"]
    elif row["kind"] == "suspended":
        lines[0] += f", for {duration(now - row['since'])} now"
    elif row["wait"]:
        lines[0] += f", the next for {duration(row['wait'] + 0.999)}"
    return _text(lines)


def probe(found: Row) -> str:
    """C{probe}."""
    texts = [f"{found['name']}: {found['problem']}"] if found["problem"] else []
    for row in found["hosts"]:
        if row["result"] == "barred":
            texts.append(_text([f"{row['host']} [{row['address']}]: must not be used", row["error"]]))
            continue
        place = f"{row['host']} [{row['address']}]:{row['port']}"
        lines = [f"{place}: {row['result']}" + (f" at {row['stage']}" if row["stage"] else "")]
        if row["error"]:
            lines.append(row["error"])
        if row["greeting"]:
            lines.append(f"greeting: {row['greeting']}")
        if row["extensions"]:
            lines.append(f"offers: {' '.join(row['extensions'])}")
        if row["tls"]:
            lines.append(f"TLS: {row['tls']}" + (f" ({row['certificate']})" if row["certificate"] else ""))
        elif row["greeting"]:
            lines.append("TLS: none")
        lines.append(f"asked for: {row['policy']}")
        lines += row["grounds"]
        lines.append(f"verdict: {row['verdict']}")
        texts.append(_text(lines))
    return "\n".join(texts)
