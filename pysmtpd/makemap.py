"""C{pysmtpd makemap} and C{pysmtpd newaliases}: from a text file to the map that C{db:} reads. They need no daemon, and disturb none."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sqlite3
import stat
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pysmtpd.exitcodes import EX_FAILED
from pysmtpd.interfaces import IDisk
from pysmtpd.platform.disk import RealDisk
from pysmtpd.ruleset.nodes import BadNode, ErrorNode, parseNodes
from pysmtpd.table.dbfile import MapWriter
from pysmtpd.table.syntax import Entry, Reader

ALIASES = ("/etc/pysmtpd/aliases", "/etc/mail/aliases", "/etc/aliases")
"""Where C{newaliases} looks."""

_PIECE = 65_536
_SHOWN = 20


class MapError(Exception):
    """The map cannot be made; the text says why."""


def makeMap(disk: IDisk, source: str, target: str, kind: str = "map", temporary: str = "") -> MapWriter:
    """Write C{target} anew. Whoever reads it sees the old file or the new one, whole; when this returns, the new one survives a power cut.

    @param kind: map, aliases or set.
    @return: the writer, for what it has counted.
    @raise MapError: nothing was changed.
    """
    temporary = temporary or f"{target}.new"
    try:
        # Made here, for SQLite would follow a link that lies in the place.
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(temporary)
        disk.create(temporary).close()
        writer = _write(disk, source, temporary, kind)
        disk.rename(temporary, target)
        disk.syncDirectory(os.path.dirname(target) or "/")
    except (OSError, sqlite3.Error) as error:
        _remove(disk, temporary)
        raise MapError(f"{target}: {getattr(error, 'strerror', None) or error}") from error
    except MapError:
        _remove(disk, temporary)
        raise
    return writer


def _remove(disk: IDisk, path: str) -> None:
    try:
        disk.unlink(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise MapError(f"{path} cannot be removed: {error.strerror}") from error


def _write(disk: IDisk, source: str, temporary: str, kind: str) -> MapWriter:
    reader = Reader(kind != "set")
    try:
        file = disk.open(source)
    except OSError as error:
        raise MapError(f"{source}: {error.strerror}") from error
    try:
        writer = MapWriter(disk, temporary)
        try:
            while piece := file.read(_PIECE):
                writer.add(_checked(reader.feed(piece), kind))
            writer.add(_checked(reader.finish(), kind))
            writer.finish()
        finally:
            writer.close()
    except ValueError as error:
        raise MapError(f"{source}: {error}") from error
    finally:
        file.close()
    return writer


def _checked(entries: list[Entry], kind: str) -> list[Entry]:
    if kind == "aliases":
        for key, value, line in entries:
            nodes = parseNodes(value)
            bad = next((node for node in nodes if isinstance(node, BadNode)), None)
            if bad is not None:
                raise ValueError(f'line {line}: "{key}" expands to what is neither an address nor a user: "{bad.text}"')
            if any(isinstance(node, ErrorNode) for node in nodes) and len(nodes) > 1:
                raise ValueError(f'line {line}: "{key}" has an error beside other recipients')
    return entries


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"pysmtpd {program}",
        description="Makes the map FILE.db of the text in FILE, for tables of the backend db. "
        "A running daemon uses it from its next question on.",
        epilog="Exit codes: 0 the map was made; 1 it was not, and what was there is untouched; 2 wrong usage.",
    )
    if program == "makemap":
        parser.add_argument(
            "-t",
            dest="kind",
            choices=("map", "aliases", "set"),
            default="map",
            help="map: keys and values; aliases: their values are checked, too; set: a key in each line (default: map)",
        )
        parser.add_argument("file", metavar="FILE")
    else:
        parser.set_defaults(kind="aliases")
        parser.add_argument(
            "file", metavar="FILE", nargs="?", help=f"default: the first that is there of {', '.join(ALIASES)}"
        )
    parser.add_argument("-o", dest="output", metavar="MAP", help="the map (default: FILE.db)")
    return parser


def _fail(program: str, why: str) -> NoReturn:
    print(f"pysmtpd {program}: {why}", file=sys.stderr)
    sys.exit(EX_FAILED)


def main(program: str, arguments: Sequence[str]) -> None:
    """Make the map; end the process if it cannot be made.

    @param program: makemap or newaliases.
    """
    options = _parser(program).parse_args(arguments)
    source = options.file or next((path for path in ALIASES if os.path.exists(path)), "")
    if not source:
        _fail(program, f"none of {', '.join(ALIASES)} is there; name the file")
    source = os.path.abspath(source)
    target = os.path.abspath(options.output or f"{source}.db")
    temporary = f"{target}.new-{os.getpid()}"
    try:
        writer = makeMap(_Disk(source), source, target, options.kind, temporary)
    except MapError as error:
        _fail(program, str(error))
    for duplicate in writer.duplicates[:_SHOWN]:
        print(f"pysmtpd {program}: {source}: {duplicate}: again; the last one counts", file=sys.stderr)
    if len(writer.duplicates) > _SHOWN:
        print(f"pysmtpd {program}: and {len(writer.duplicates) - _SHOWN} keys more", file=sys.stderr)
    print(f"{target}: {writer.size} entries")


class _Disk(RealDisk):
    """Files that get their name get the owner and mode of C{source} first."""

    def __init__(self, source: str) -> None:
        self._source = source

    def rename(self, old: str, new: str) -> None:
        like = os.stat(self._source)
        found: Any = os.stat(old)
        if (like.st_uid, like.st_gid) != (found.st_uid, found.st_gid) and os.geteuid() == 0:
            os.chown(old, like.st_uid, like.st_gid)
        os.chmod(old, stat.S_IMODE(like.st_mode) & 0o666)
        super().rename(old, new)
