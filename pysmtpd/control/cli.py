"""C{pysmtpctl}: the operator's command, in the words of smtpctl(8)."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pysmtpd.control import render, supposition
from pysmtpd.control import routetext as routes
from pysmtpd.control.schema import DEFAULT_SOCKET
from pysmtpd.control.tree import Tree
from pysmtpd.control.wire import Broken, Client, ControlError

# Exit codes, of sysexits.h where it has one.
EX_OK = 0
EX_REFUSED = 1
EX_USAGE = 2
EX_UNAVAILABLE = 69
EX_NOPERM = 77
# What a shell says of a program that SIGINT has ended.
EX_INTERRUPTED = 130

Action = Callable[[Client, argparse.Namespace], int]


def _print(options: argparse.Namespace, value: Any, text: Callable[[Any], str]) -> None:
    print(_json(value) if options.json else text(value))


def _json(value: Any) -> str:
    """As it is read best; escaped, where the terminal has no such characters, or where they are octets that no charset explains."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _list(command: str, text: Callable[[Any], str]) -> Action:
    """Rows, each printed as it comes; with C{--json} one JSON value a line."""

    def act(client: Client, options: argparse.Namespace) -> int:
        for row in client.rows(command):
            _print(options, row, text)
        return EX_OK

    return act


def _showStatus(client: Client, options: argparse.Namespace) -> int:
    _print(options, client.call("Status")["status"], lambda row: render.status(row, time.time()))
    return EX_OK


def _showTls(client: Client, options: argparse.Namespace) -> int:
    for row in client.call("Tls", domain=options.id)["rows"]:
        _print(options, row, render.tls)
    return EX_OK


def _forgetTls(client: Client, options: argparse.Namespace) -> int:
    count = client.call("ForgetTls", domain=options.id)["count"]
    _print(options, {"count": count}, lambda _: f"{count} host{'' if count == 1 else 's'} forgotten")
    return EX_OK if count else EX_REFUSED


def _showMessage(client: Client, options: argparse.Namespace) -> int:
    if options.json:
        print(_json(client.call("Message", id=options.id)["message"]))
        return EX_OK
    start = True
    while data := client.call("Content", id=options.id, start=start)["data"]:
        sys.stdout.buffer.write(data)
        start = False
    sys.stdout.buffer.flush()
    return EX_OK


def _showEnvelope(client: Client, options: argparse.Namespace) -> int:
    _print(options, client.call("Envelope", id=options.id)["envelope"], lambda row: render.detail(row, time.time()))
    return EX_OK


def _selection(command: str, done: str) -> Action:
    """Commands that act on envelopes; the exit code says whether there was any."""

    def act(client: Client, options: argparse.Namespace) -> int:
        count = client.call(command, selection=options.id)["count"]
        _print(options, {"count": count}, lambda _: f"{count} envelope{'' if count == 1 else 's'} {done}")
        return EX_OK if count or options.id == "all" else EX_REFUSED

    return act


def _destination(command: str, done: str) -> Action:
    def act(client: Client, options: argparse.Namespace) -> int:
        changed = client.call(command, destination=options.id)["changed"]
        word = done if changed else f"was {'paused already' if done == 'paused' else 'not paused'}"
        _print(options, {"changed": changed}, lambda _: f"{options.id} {word}")
        return EX_OK

    return act


def _explain(client: Client, options: argparse.Namespace) -> int:
    explained = client.whole("Explain", supposed=supposition.values(options))
    _print(options, explained, lambda value: Tree(value, options.verbose).text())
    return EX_OK if all(recipient["accepted"] for recipient in explained["recipients"]) else EX_REFUSED


def _reload(client: Client, options: argparse.Namespace) -> int:
    done = client.whole("Reload")
    if done["errors"] and not options.json:
        print("\n".join(render.cleanLines(error) for error in done["errors"]), file=sys.stderr)
        print("pysmtpctl: nothing has changed", file=sys.stderr)
    else:
        _print(options, done, render.reload)
    return EX_REFUSED if done["errors"] else EX_OK


def _rematch(client: Client, options: argparse.Namespace) -> int:
    done = client.whole("Rematch", selection=options.id, dry=options.dry)
    _print(options, done, lambda value: render.rematch(value, options.dry))
    return EX_OK


def _probe(client: Client, options: argparse.Namespace) -> int:
    found = client.whole("Probe", destination=options.id)
    _print(options, found, routes.probe)
    return EX_OK if any(row["result"] == "ok" for row in found["hosts"]) else EX_REFUSED


def _forgive(client: Client, options: argparse.Namespace) -> int:
    count = client.call("Forgive", host=options.id)["count"]
    _print(options, {"count": count}, lambda _: f"{count} route{'' if count == 1 else 's'} resumed")
    return EX_OK if count or options.id == "all" else EX_REFUSED


def _updateTable(client: Client, options: argparse.Namespace) -> int:
    update = client.call("UpdateTable", table=options.id)["update"]
    _print(options, update, render.tableUpdate)
    return EX_OK


def _simple(command: str, done: str, **arguments: Any) -> Action:
    def act(client: Client, options: argparse.Namespace) -> int:
        client.call(command, **arguments)
        _print(options, {"done": done}, lambda _: done)
        return EX_OK

    return act


_MONITORED = (
    ("smtp.session", "sessions"),
    ("smtp.message", "accepted"),
    ("queue.envelope", "queued"),
    ("mta.delivery.ok", "mta-ok"),
    ("mta.delivery.tempfail", "mta-temp"),
    ("mta.delivery.permfail", "mta-perm"),
    ("mda.delivery.ok", "mda-ok"),
    ("mda.delivery.tempfail", "mda-temp"),
    ("mda.delivery.permfail", "mda-perm"),
    ("bounce.envelope", "bounced"),
)
_GAUGES = {"smtp.session", "queue.envelope"}


def _monitor(client: Client, options: argparse.Namespace) -> int:
    """A line a second: gauges as they stand, counters as what came since the last line."""
    before: dict[str, float] | None = None
    printed = 0
    try:
        while printed != options.count:
            counters = dict(client.rows("Stats"))
            counters["queue.envelope"] = sum(client.call("Status")["status"]["envelopes"].values())
            # Nothing is known yet of what came before the first line.
            since = counters if before is None else before
            row = {
                title: int(counters.get(key, 0) - (0 if key in _GAUGES else since.get(key, 0)))
                for key, title in _MONITORED
            }
            if options.json:
                print(json.dumps({"time": time.time(), **row}), flush=True)
            else:
                if printed % 20 == 0:
                    print(" ".join(f"{title:>9}" for title in row))
                print(" ".join(f"{value:>9}" for value in row.values()), flush=True)
            before = counters
            printed += 1
            if printed != options.count:
                time.sleep(1)
    except KeyboardInterrupt:
        return EX_OK
    return EX_OK


def _lines(text: str) -> int:
    """How many lines C{monitor} shall print."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"LINES is a whole number above 0, not {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pysmtpctl",
        description="Look at a running pysmtpd, and steer it.",
        epilog="Exit codes: 0 done; 1 refused, or nothing matched; 2 wrong usage; 69 no daemon answers; 77 not permitted.",
    )
    parser.add_argument(
        "-s",
        dest="socket",
        metavar="SOCKET",
        default=os.environ.get("PYSMTPD_SOCKET", DEFAULT_SOCKET),
        help="the daemon's control socket (default: $PYSMTPD_SOCKET, or %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; lists as one value a line")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)

    # Options stand before or after the verb, as it pleases.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def leaf(group: Any, name: str, help: str, act: Action, id: str = "") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(name, help=help, description=help, parents=[common])
        made.set_defaults(act=act)
        if id:
            made.add_argument("id", metavar=id)
        return made

    def group(name: str, help: str) -> Any:
        return verbs.add_parser(name, help=help, description=help).add_subparsers(metavar="WHAT", required=True)

    show = group("show", "show something of the daemon")
    leaf(
        show,
        "queue",
        "each envelope: why it waits, and the last reply",
        _list("Queue", lambda row: render.envelope(row, time.time())),
    )
    leaf(show, "message", "a message's content; with --json its facts", _showMessage, "MSGID|EVPID")
    leaf(show, "envelope", "everything that is known of an envelope", _showEnvelope, "EVPID")
    leaf(show, "stats", "statistics: counters and gauges", _list("Stats", render.stat))
    leaf(show, "status", "version, uptime, what is paused, how many envelopes are in which condition", _showStatus)
    for name, command, text, help in (
        ("relays", "Relays", routes.relay, "where messages go, and the one thing that each waits for"),
        ("routes", "Routes", routes.route, "from a source to a host: state, error, penalty, next try, what binds it"),
        ("hosts", "Hosts", routes.host, "hosts: state, connections, errors, penalties"),
        ("hoststats", "HostStats", routes.hostStat, "destination domains: the last reply, and what waits for a host"),
        ("connections", "Connections", routes.connection, "outgoing connections, and what each waits for"),
        ("limits", "Limits", routes.limit, "limits: what is paused or slowed down, why, and how much waits"),
    ):
        leaf(show, name, help, _list(command, lambda row, text=text: text(row, time.time())))  # type: ignore[misc]
    leaf(show, "tls", "a domain's hosts: what their TLS has to show, and what is remembered of it", _showTls, "DOMAIN")
    leaf(show, "tables", "tables: backend, entries, age, the last error", _list("Tables", render.table))
    leaf(show, "set-aside", "queue items that could not be read, with reasons", _list("SetAside", render.line))

    supposition.add(leaf(verbs, "explain", "why mail is, or would be, treated as it is; nothing is changed", _explain))

    leaf(verbs, "forget-tls", "remember no longer that a domain's hosts had TLS", _forgetTls, "DOMAIN")
    what = "MSGID|EVPID|all"
    leaf(verbs, "schedule", "try envelopes now", _selection("Schedule", "scheduled"), what)
    leaf(verbs, "remove", "remove envelopes; their sender is not told", _selection("Remove", "will be removed"), what)
    leaf(
        verbs, "rematch", "ask the rules again about undelivered envelopes; a rejection holds them", _rematch, what
    ).add_argument("--dry-run", dest="dry", action="store_true", help="show what would change, and change nothing")
    for verb, command, past in (("pause", "Pause", "paused"), ("resume", "Resume", "resumed")):
        parts = group(verb, f"{verb} a part of the daemon, or envelopes")
        for part, meaning in (("mda", "local delivery"), ("mta", "remote delivery"), ("smtp", "accepting connections")):
            leaf(parts, part, f"{verb} {meaning}", _simple(command, f"{part} {past}", part=part))
        leaf(parts, "envelope", f"{verb} envelopes", _selection(f"{command}Envelope", past), what)
        destination = "SuspendDestination" if verb == "pause" else "ResumeDestination"
        leaf(
            parts, "destination", f"{verb} mail for a domain, host or provider", _destination(destination, past), "NAME"
        )
    leaf(
        group("update", "read something again"),
        "table",
        "read a table's file again, while mail flows; counts what changed",
        _updateTable,
        "NAME",
    )
    log = group("log", "how much the daemon logs")
    leaf(log, "verbose", "log more", _simple("Log", "logging verbosely", verbose=True))
    leaf(log, "brief", "log as usual", _simple("Log", "logging briefly", verbose=False))
    leaf(
        parts,
        "route",
        "forget the penalties of a host, by its name or address: the next try is a real one",
        _forgive,
        "HOST|all",
    )
    leaf(verbs, "probe", "connect to the hosts of a destination, look at what they offer, send nothing", _probe, "NAME")
    leaf(verbs, "monitor", "statistics, a line a second", _monitor).add_argument(
        "-c",
        dest="count",
        type=_lines,
        metavar="LINES",
        help="end after so many lines; without, go on until interrupted",
    )
    leaf(verbs, "reload", "read the configuration again and go on by it; on an error nothing changes", _reload)
    # Its own words are not ours to read: see _enqueue, which is asked first.
    verbs.add_parser(
        "enqueue", help="submit the message on standard input, as sendmail(8) does; see enqueue --help"
    ).set_defaults(act=None)
    leaf(verbs, "stop", "end the daemon in order", _simple("Stop", "stopping"))
    return parser


def _enqueue(words: list[str]) -> int | None:
    """C{enqueue} takes what sendmail(8) takes, which no parser of ours does; None: it is another command."""
    path = os.environ.get("PYSMTPD_SOCKET", DEFAULT_SOCKET)
    if words[:1] == ["-s"] and len(words) > 1:
        path = words[1]
        del words[:2]
    elif words and words[0].startswith("-s"):
        path = words.pop(0)[2:]
    if words[:1] != ["enqueue"]:
        return None
    # It alone needs to know of mail.
    from pysmtpd.control import enqueue

    return enqueue.run(words[1:], enqueue.besides(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and say how it went."""
    code = _enqueue(list(sys.argv[1:] if arguments is None else arguments))
    if code is not None:
        return code
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.act is None:
        parser.error("before enqueue stands nothing but -s SOCKET")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever a peer has said can be shown, on whatever terminal.
        sys.stdout.reconfigure(errors="replace")
    try:
        client = Client(options.socket)
    except PermissionError:
        print(
            f"pysmtpctl: not permitted to use {options.socket}; run it as the daemon's user or as root", file=sys.stderr
        )
        return EX_NOPERM
    except OSError as error:
        print(
            f"pysmtpctl: no daemon answers at {options.socket} ({error.strerror or error}); is it running, and is this its socket (-s)?",
            file=sys.stderr,
        )
        return EX_UNAVAILABLE
    try:
        act: Action = options.act
        code = act(client, options)
        sys.stdout.flush()
        return code
    except ControlError as error:
        print(f"pysmtpctl: {error}", file=sys.stderr)
        return EX_UNAVAILABLE if error.code == "UNAVAILABLE" else EX_REFUSED
    except Broken as error:
        print(f"pysmtpctl: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _discardOutput()
        return EX_OK
    except OSError as error:
        print(f"pysmtpctl: the answer cannot be written: {error.strerror or error}", file=sys.stderr)
        _discardOutput()
        return EX_REFUSED
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    finally:
        client.close()


def _discardOutput() -> None:
    """Nothing is to be flushed at the end, either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
