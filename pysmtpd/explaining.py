"""C{pysmtpd explain}: what a configuration would decide, told without a daemon."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from pysmtpd.backends import NoSuchBackend
from pysmtpd.config.macros import definition
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.control import supposition
from pysmtpd.control.amp import BadArgument
from pysmtpd.control.decisions import supposedOf
from pysmtpd.control.explained import explanationValues
from pysmtpd.control.tree import Tree
from pysmtpd.exitcodes import EX_CONFIG, EX_OK, EX_PRIVILEGE, EX_USAGE
from pysmtpd.generations import readTables
from pysmtpd.interfaces import HelperFailed
from pysmtpd.model.explanation import Supposed
from pysmtpd.model.queuekey import UNUSED
from pysmtpd.options import DEFAULT_CONFIGURATION
from pysmtpd.platform.real import RealPlatform
from pysmtpd.privilege.client import Helper
from pysmtpd.privilege.daemon import separate
from pysmtpd.privilege.drop import PrivilegeError, chooseUser
from pysmtpd.reading import loadConfig
from pysmtpd.service import Daemon, build
from pysmtpd.settings import Settings

EX_REFUSED = 1

_NOT_ROOT = "This is not run by root: as for a daemon that root has not started, no .forward is read but your own."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="pysmtpd explain",
        description="What a configuration decides about mail, and why. No daemon is asked: tables are read, users are looked up, "
        "DNS is not asked. Exit codes: 0 every recipient is accepted; 1 one is refused; 2 wrong usage; 78 the configuration is wrong.",
    )
    made.add_argument(
        "-f", dest="file", default=DEFAULT_CONFIGURATION, help="the configuration file (default: %(default)s)"
    )
    made.add_argument(
        "-D",
        dest="defines",
        action="append",
        default=[],
        type=_definition,
        metavar="NAME=VALUE",
        help="define a macro",
    )
    made.add_argument(
        "--user",
        dest="runs",
        metavar="NAME",
        help="run by root: whom the daemon runs as (default: as the daemon chooses)",
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    supposition.add(made)
    return made


def main(arguments: Sequence[str], reactor: Any, isRoot: bool, say: Callable[[str], object]) -> None:
    """Explain, and end the process.

    @param isRoot: root runs this; it does not any more when it reads what others have written.
    @param say: prints a text.
    """
    options = parser().parse_args(arguments)
    codes: list[int] = []
    notes = () if isRoot else (_NOT_ROOT,)
    try:
        daemon = _prepare(options, reactor, isRoot)
        supposed = supposedOf(supposition.values(options))
    except (ConfigErrors, NoSuchBackend) as error:
        _fail(str(error), EX_CONFIG)
    except BadArgument as error:
        _fail(str(error), EX_USAGE)
    except (PrivilegeError, HelperFailed) as error:
        _fail(str(error), EX_PRIVILEGE)

    def run(_: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_run(daemon, supposed, options, notes, say, codes))

    try:
        react(run, (), _reactor=reactor)
    except SystemExit as ended:
        sys.exit(codes[0] if codes else ended.code)


def _fail(text: str, code: int) -> NoReturn:
    print(f"pysmtpd: {text}", file=sys.stderr)
    sys.exit(code)


def _definition(text: str) -> tuple[str, str]:
    """
    @raise argparse.ArgumentTypeError:
    """
    try:
        return definition(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _prepare(options: argparse.Namespace, reactor: Any, isRoot: bool) -> Daemon:
    """A daemon of which nothing is started, so nothing is opened.

    Root becomes whom the daemon would be, and has a helper as the daemon has: whose .forward is read, and who may have written a table, is
    decided as it would be there.

    @raise ConfigErrors:
    @raise NoSuchBackend:
    @raise PrivilegeError: there is nobody to become.
    """
    helper = Helper(reactor) if isRoot else None
    platform = RealPlatform(reactor, isPrivileged=isRoot)
    config = loadConfig(options.file, platform, dict(options.defines))
    daemon = build(platform, config, Settings(spool="/", helper=helper, queueKey=UNUSED))
    if helper is not None:
        user = chooseUser(options.runs)
        helper.workers = platform.workers
        separate(helper, user, (), {})
    return daemon


async def _run(
    daemon: Daemon,
    supposed: Supposed,
    options: argparse.Namespace,
    notes: Sequence[str],
    say: Callable[[str], object],
    codes: list[int],
) -> None:
    tables, _, errors = await readTables(daemon.tables)
    for name, why in errors.items():
        print(f"warning: table {name}: {why}", file=sys.stderr)
    daemon.generations.begin(tables, None)
    try:
        explanation, routes = await daemon.operator.explain(supposed, asksDns=False)
    except ValueError as error:
        print(f"pysmtpd: {error}", file=sys.stderr)
        codes.append(EX_USAGE)
        return
    explained = explanationValues(explanation, routes)
    explained["notes"] += notes
    say(json.dumps(explained, ensure_ascii=False) if options.json else Tree(explained, options.verbose).text())
    codes.append(EX_OK if all(each["accepted"] for each in explained["recipients"]) else EX_REFUSED)
