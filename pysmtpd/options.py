"""The command line of the daemon."""

from __future__ import annotations

import sys

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from pysmtpd import __version__
from pysmtpd.config import macros
from pysmtpd.settings import PARTS

DEFAULT_CONFIGURATION = "/etc/pysmtpd/smtpd.conf"
DEFAULT_SPOOL = "/var/spool/pysmtpd"

COMMANDS = ("copy", "explain", "convert", "makemap", "newaliases")
"""Of C{pysmtpd}: the first word."""


class Options(UsageOptions):
    """The command line, of twistd's subcommand and of the console command alike."""

    longdesc = (
        "Runs the mail transfer agent pysmtpd. pysmtpctl steers it. `pysmtpd copy` moves a queue from one backend to another, "
        "`pysmtpd explain` shows what would become of mail, `pysmtpd convert` turns a configuration of OpenSMTPD before 6.4 into today's; "
        "`pysmtpd makemap` and `pysmtpd newaliases` make the maps of tables of the backend db. "
        "Exit codes: 0 it ended in order; 1 a fault of the daemon; 2 wrong usage; 73 the spool cannot be used; 75 somebody else has it "
        "or a port; 77 it is not permitted; 78 the configuration is wrong; of -n also 72: the configuration is right, but this machine "
        "lacks something that it names, or has it open to everybody."
    )

    optFlags = [
        ["check", "n", "Check the configuration file and exit; everything that is wrong is told in one run."],
        ["syntax", None, "With -n: check the language alone, and not what this machine has."],
        ["print", None, "With -n: print the configuration as it was understood, every default and macro resolved."],
        ["verbose", "v", "With -n: the same as --print."],
    ]
    optParameters = [
        ["file", "f", DEFAULT_CONFIGURATION, "The configuration file, in the language of smtpd.conf(5)."],
        ["spool", None, DEFAULT_SPOOL, "Directory of the queue and of the control socket; made if it is not there."],
        ["user", None, None, "Whom the daemon runs as when root has started it; see docs/privileges.md."],
        ["log", None, "text", "Form of the mail log on standard output: text (key=value), json, or none."],
    ]
    compData = None

    def __init__(self) -> None:
        super().__init__()
        self.defines: dict[str, str] = {}
        self.paused: list[str] = []

    def opt_define(self, definition: str) -> None:
        """Define a macro, NAME=VALUE; it goes before the file's own."""
        try:
            name, value = macros.definition(definition)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.defines[name] = value

    def opt_pause(self, part: str) -> None:
        """Start with this part paused: mta, mda or smtp. May be given several times."""
        if part not in PARTS:
            raise UsageError(f"-P takes one of {', '.join(PARTS)}, not {part!r}")
        self.paused.append(part)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"pysmtpd {__version__}")
        sys.exit(0)

    opt_D = opt_define
    opt_P = opt_pause

    def parseArgs(self, *words: str) -> None:
        """Nothing stands behind the options; whoever writes something there may have meant a command."""
        if words:
            raise UsageError(
                f"{words[0]!r} cannot stand here; pysmtpd has the commands {', '.join(COMMANDS)}, each as its first word"
            )

    def postOptions(self) -> None:
        if not self["check"] and (self["syntax"] or self["print"] or self["verbose"]):
            raise UsageError("--syntax, --print and -v go with -n")
        if self["syntax"] and (self["print"] or self["verbose"]):
            raise UsageError(
                "--syntax looks at the language alone, and what --print and -v print is more: leave one out"
            )
        if self["log"] not in ("text", "json", "none"):
            raise UsageError(f"--log takes text, json or none, not {self['log']!r}")
