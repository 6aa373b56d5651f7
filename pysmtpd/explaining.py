"""C{pysmtpd explain}: what a configuration would decide, told without a daemon."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from pysmtpd.backends import NoSuchBackend
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.control import supposition
from pysmtpd.control.amp import BadArgument
from pysmtpd.control.decisions import supposedOf
from pysmtpd.control.explained import explanationValues
from pysmtpd.control.tree import Tree
from pysmtpd.exitcodes import EX_CONFIG, EX_OK, EX_USAGE
from pysmtpd.generations import readTables
from pysmtpd.interfaces import IPlatform
from pysmtpd.model.queuekey import UNUSED
from pysmtpd.options import DEFAULT_CONFIGURATION
from pysmtpd.platform.real import RealPlatform
from pysmtpd.reading import loadConfig
from pysmtpd.service import build
from pysmtpd.settings import Settings

EX_REFUSED = 1


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
    made.add_argument("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE", help="define a macro")
    made.add_argument("--json", action="store_true", help="print JSON")
    supposition.add(made)
    return made


def main(arguments: Sequence[str]) -> None:
    """Explain, and end the process."""
    options = parser().parse_args(arguments)
    codes: list[int] = []

    def run(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_run(RealPlatform(reactor), options, codes))

    try:
        react(run, ())
    except SystemExit as ended:
        sys.exit(codes[0] if codes else ended.code)


async def _run(platform: IPlatform, options: argparse.Namespace, codes: list[int]) -> None:
    defines = dict(definition.partition("=")[::2] for definition in options.defines)
    try:
        config = loadConfig(options.file, platform, defines)
        # Nothing of it is started, so nothing is opened.
        daemon = build(platform, config, Settings(spool="/", queueKey=UNUSED))
        supposed = supposedOf(supposition.values(options))
    except (ConfigErrors, NoSuchBackend) as error:
        print(f"pysmtpd: {error}", file=sys.stderr)
        codes.append(EX_CONFIG)
        return
    except BadArgument as error:
        print(f"pysmtpd: {error}", file=sys.stderr)
        codes.append(EX_USAGE)
        return
    tables, _, errors = await readTables(daemon.tables)
    for name, why in errors.items():
        print(f"warning: table {name}: {why}", file=sys.stderr)
    daemon.generations.begin(tables, None)
    try:
        explanation, routes = await daemon.explain(supposed, asksDns=False)
    except ValueError as error:
        print(f"pysmtpd: {error}", file=sys.stderr)
        codes.append(EX_USAGE)
        return
    explained = explanationValues(explanation, routes)
    print(json.dumps(explained, ensure_ascii=False) if options.json else Tree(explained, options.verbose).text())
    codes.append(EX_OK if all(each["accepted"] for each in explained["recipients"]) else EX_REFUSED)
