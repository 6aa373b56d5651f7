"""An explanation as text for a terminal, from the plain values of L{pysmtpd.control.explained}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pysmtpd.control.render import clean

_COUNTS = ("No envelope", "One envelope", "Two envelopes", "Three envelopes")


class Tree:
    """Writes one explanation."""

    def __init__(self, explained: Mapping[str, Any], questions: bool = False) -> None:
        """
        @param questions: also what tables and users were asked, and what they answered.
        """
        self._explained = explained
        self._questions = questions
        file = str(explained["configuration"])
        # What lies beside the main file is known by its name.
        self._beside = file[: file.rindex("/") + 1] if "/" in file else ""

    def text(self) -> str:
        """Lines, without a last line feed."""
        return "\n".join(clean(line).rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        explained = self._explained
        yield f"Configuration: {explained['configuration']}"
        yield from self._session(explained["session"])
        yield f"Sender:        <{explained['sender']}>"
        yield from (f"Note:          {note}" for note in explained["notes"])
        refused = [one for one in explained["commands"] if one["reply"][:1] in ("4", "5")]
        if refused:
            yield ""
        for one in refused:
            yield one["command"]
            yield f"  is refused: {one['reply']}"
            if one["reason"]:
                yield f"  because:    {self._short(one['reason'])}"
        for recipient in explained["recipients"]:
            yield ""
            yield from self._recipient(recipient)
        yield ""
        yield from self._envelopes(explained["envelopes"])

    def _session(self, session: Mapping[str, Any]) -> Iterator[str]:
        who = "a program on this machine" if session["socket"] else session["peer"]
        if session["rdns"] and not session["socket"]:
            who += f" ({session['rdns']})"
        where = f" ({self._short(session['where'])})" if session["where"] else ""
        said = [f"calls itself {session['helo']}"] if session["helo"] else []
        said.append("TLS" if session["tls"] else "no TLS")
        said.append(f"authenticated as {session['user']}" if session["user"] else "not authenticated")
        said.append("counts as local" if session["local"] else "not local")
        if session["tag"]:
            said.append(f'tag "{session["tag"]}"')
        yield f"Session:       {who} to {session['listener'] or 'nowhere'}{where}"
        yield f"               {', '.join(said)}"

    def _recipient(self, recipient: Mapping[str, Any]) -> Iterator[str]:
        yield f"RCPT TO:<{recipient['address']}>"
        if not recipient["reply"]:
            yield "  The session does not come to it."
            return
        yield f"  {'is accepted' if recipient['accepted'] else 'is refused'}: {recipient['reply']}"
        if not recipient["accepted"] and recipient["reason"]:
            yield f"  because:    {self._short(recipient['reason'])}"
        decision = recipient["decision"]
        if decision is None:
            yield "  The rules are not asked."
            return
        yield from self._step(decision["step"], "  ")

    def _step(self, step: Mapping[str, Any], margin: str) -> Iterator[str]:
        """One address, below the line that names it."""
        rules: Sequence[Mapping[str, Any]] = step.get("rules", ())
        width = max((len(self._short(rule["where"])) for rule in rules), default=0)
        for rule in rules:
            place = self._short(rule["where"]).ljust(width)
            if rule["failed"]:
                yield f"{margin}no   {place}  {rule['rule']}"
                yield f"{margin}     {' ' * width}  fails at: {rule['failed']}"
            else:
                yield f"{margin}YES  {place}  {rule['rule']}"
        for question in step.get("questions", ()):
            if self._questions or question["answer"].startswith("cannot be told"):
                yield f"{margin}asked: {question['asked']}: {question['answer']}"
        yield f"{margin}=> {self._short(step['outcome'])}"
        children = step["children"]
        for number, child in enumerate(children, 1):
            isLast = number == len(children)
            source = f"   from {self._short(child['source'])}" if child.get("source") else ""
            name = child.get("node") or child["address"]
            yield f"{margin}{'└─' if isLast else '├─'} {name}{source}"
            yield from self._step(child, f"{margin}{'  ' if isLast else '│ '}   ")

    def _envelopes(self, envelopes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        count = len(envelopes)
        said = _COUNTS[count] if count < len(_COUNTS) else f"{count} envelopes"
        yield f"{said} would be queued{':' if envelopes else '.'}"
        for number, envelope in enumerate(envelopes, 1):
            yield f'  {number}. <{envelope["address"]}>   action "{envelope["action"]}" ({self._short(envelope["rule"])})'
            yield from (f"     {name:<11}{value}" for name, value in _delivery(envelope))

    def _short(self, text: str) -> str:
        return text.replace(self._beside, "") if self._beside else text


def _delivery(envelope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    delivery: Mapping[str, Any] = envelope["delivery"]
    user = envelope["user"] or "the daemon's own user"
    if envelope["command"]:
        yield "command", f"|{envelope['command']}, as {user}"
        return
    if envelope["file"]:
        yield "file", f"{envelope['file']}, as {user}"
        return
    if envelope["agent"] == "mda":
        place = delivery["path"] or delivery["command"]
        yield "delivery", f"{delivery['method']} {place}, as the user {envelope['user']}"
        return
    if "by" in delivery:
        if delivery["by"] == "mx":
            yield "relay", f"by the MX of {delivery['domain']}"
        elif delivery["by"] == "table":
            hosts = ", ".join(_host(host) for host in delivery["hosts"])
            yield "relay", f"by {_table(delivery['table'])}" + (f": {hosts}" if hosts else "")
        else:
            yield "relay", ", ".join(_host(host) for host in delivery["hosts"])
        for number, level in enumerate(delivery["next"]):
            yield "next hop" if not number else "", ("" if not number else "then ") + ", ".join(level)
        if delivery["by"] == "mx":
            yield "TLS", delivery["tls"]
            for number, verdict in enumerate(delivery["verdicts"]):
                yield "asked" if not number else "", verdict
        yield "HELO", delivery["helo"]
        if delivery["mail_from"] != envelope.get("sender", delivery["mail_from"]):
            yield "MAIL FROM", f"<{delivery['mail_from']}>"
        if delivery["source"]:
            yield "source", f"the next of {_table(delivery['source'])}"
        if delivery["auth"]:
            yield "AUTH", f"credentials of {_table(delivery['auth'])}"
    if delivery.get("problem"):
        yield "problem", str(delivery["problem"])


def _table(name: str) -> str:
    return "an inline table" if name.startswith("<dynamic:") else f"the table <{name}>"


def _host(host: Mapping[str, Any]) -> str:
    label = f"{host['credentials']}@" if host["credentials"] else ""
    port = f":{host['port']}" if host["port"] else ""
    return f"{host['protocol']}://{label}{host['host']}{port} (TLS {host['tls']})"
