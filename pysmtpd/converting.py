"""C{pysmtpd convert}: a configuration of OpenSMTPD before 6.4 into today's language."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from pysmtpd.config.dated.convert import convert
from pysmtpd.reading import decoded, readOctets

USAGE = """\
pysmtpd convert [FILE]

Reads a configuration of OpenSMTPD before 6.4 (from standard input if no file is named), and prints it in today's language. What has no
counterpart stays as a comment with the reason. Exit codes: 0 all was converted; 1 something stayed a comment; 2 wrong usage, or the file
cannot be read.
"""


def main(arguments: Sequence[str]) -> NoReturn:
    """The subcommand."""
    if len(arguments) > 1 or any(argument in ("-h", "--help") for argument in arguments):
        isHelp = len(arguments) == 1
        print(USAGE, file=sys.stdout if isHelp else sys.stderr, end="")
        sys.exit(0 if isHelp else 2)
    name = arguments[0] if arguments and arguments[0] != "-" else "standard input"
    try:
        text = decoded(sys.stdin.buffer.read() if name == "standard input" else readOctets(name))
    except OSError as error:
        print(f"pysmtpd: cannot read {name}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    converted = convert(name, text)
    sys.stdout.buffer.write(converted.text.encode("utf-8", "surrogateescape"))
    for note in converted.notes:
        print(f"note: {name}:{note}", file=sys.stderr)
    for reason in converted.reasons:
        print(f"{name}:{reason}", file=sys.stderr)
    sys.exit(1 if converted.reasons else 0)
