"""What the end of a command means for the letter that it was given (sysexits(3))."""

from __future__ import annotations

from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Exit

# Codes of sysexits(3): their names, and the status of RFC 3463 that says the same.
_SYSEXITS = {
    64: ("EX_USAGE", "3.5"),
    65: ("EX_DATAERR", "6.0"),
    66: ("EX_NOINPUT", "3.0"),
    67: ("EX_NOUSER", "1.1"),
    68: ("EX_NOHOST", "1.2"),
    69: ("EX_UNAVAILABLE", "3.0"),
    70: ("EX_SOFTWARE", "3.0"),
    71: ("EX_OSERR", "3.0"),
    72: ("EX_OSFILE", "3.5"),
    73: ("EX_CANTCREAT", "2.0"),
    74: ("EX_IOERR", "3.0"),
    75: ("EX_TEMPFAIL", "3.0"),
    76: ("EX_PROTOCOL", "5.0"),
    77: ("EX_NOPERM", "7.0"),
    78: ("EX_CONFIG", "3.5"),
}
_TEMPORARY = {71, 75}

# Of sh(1), and of EX_CONFIG: an operator has something to mend, and the mail waits for it.
_FAULTS = {78: "it says that its configuration is wrong", 126: "it cannot be executed", 127: "it is not there"}

# The status of what an operator has to mend.
FAULT = "4.3.5"


def verdict(exit: Exit) -> Reply | None:
    """Why the letter is not delivered; None: it is."""
    if exit.failure:
        return Reply(451, f"Command cannot be started: {_plain(exit.failure)}", FAULT)
    if exit.isLate:
        return Reply(451, _said("Command was ended: its time was over", exit), "4.3.0")
    if exit.signal:
        return Reply(451, _said(f"Command was killed by signal {exit.signal}", exit), "4.3.0")
    if not exit.status:
        return None
    if exit.status in _FAULTS:
        return Reply(451, _said(f"Command failed: {_FAULTS[exit.status]} (exit code {exit.status})", exit), FAULT)
    name, detail = _SYSEXITS.get(exit.status, ("", "3.0"))
    text = _said(f"Command failed: {name or f'exit code {exit.status}'}", exit)
    if exit.status in _TEMPORARY:
        return Reply(451, text, f"4.{detail}")
    return Reply(550, text, f"5.{detail}")


def _said(text: str, exit: Exit) -> str:
    return f"{text}: {_plain(exit.output)}" if exit.output else text


def _plain(text: str) -> str:
    """Fit for a reply's text, whatever a program has written."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:400]
