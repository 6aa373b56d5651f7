"""C{pysmtpctl enqueue}: hands a message on standard input to the daemon, by the local socket. What a cron job's C{sendmail} is.

It loads none of the daemon's libraries. Exit codes are those of sysexits.h: 0 the daemon is responsible for the message, 64 wrong
usage, 65 an address is none, 67 a recipient is refused, 69 the message is refused, 75 not now: try again.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import socket
import sys
from collections.abc import Sequence
from email import policy
from email.parser import BytesHeaderParser
from email.utils import formataddr, getaddresses
from typing import BinaryIO, NoReturn

from pysmtpd.control.schema import DEFAULT_SOCKET

# The local socket's name, beside the control socket's.
SOCKET = "smtp.sock"

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOUSER = 67
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75

# Seconds for one reply; the daemon's own bounds are shorter.
PATIENCE = 900.0

USAGE = """\
Usage: pysmtpctl enqueue [-f SENDER] [-F NAME] [-t] [RECIPIENT ...] < MESSAGE

  -f SENDER   the envelope's sender; <> for none. Without it: the user's name at this host
  -F NAME     the full name for a From field that is added
  -t          recipients are also those of To, Cc and Bcc

Options of sendmail that change nothing here are taken and ignored: -i, -oi, -odX, -bm, -B TYPE, -m, -v and others alike."""

# Options of sendmail(8) that take a value, and all the others.
_IGNORED_WITH_VALUE = "BhLNoOpRVX"
_IGNORED = "AbeEGijJmqUvx"
_LINE = re.compile(rb"\r?\n|\r")


class Failed(Exception):
    """
    @ivar code: what to exit with.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Request:
    """What the command line says."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """
        @raise Failed: wrong usage.
        """
        self.sender: str | None = None
        self.name = ""
        self.fromHeader = False
        self.recipients: list[str] = []
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.recipients += rest
                break
            if word[:1] != "-" or word == "-":
                self.recipients.append(word)
            else:
                self._option(word, rest)
        self.recipients = [part.strip() for each in self.recipients for part in each.split(",") if part.strip()]

    def _option(self, word: str, rest: list[str]) -> None:
        letter, value = word[1], word[2:]
        if letter in "frF":
            if not value and not rest:
                raise Failed(EX_USAGE, f"-{letter} takes a value\n{USAGE}")
            value = value or rest.pop(0)
            if letter == "F":
                self.name = value
            else:
                self.sender = value.strip().removeprefix("<").removesuffix(">")
        elif letter == "t":
            self.fromHeader = True
        elif letter == "b" and value not in ("", "m"):
            raise Failed(EX_USAGE, f"-b{value} is not done here")
        elif letter in _IGNORED_WITH_VALUE:
            if not value and rest:
                rest.pop(0)
        elif letter not in _IGNORED:
            raise Failed(EX_USAGE, f"there is no option -{letter}\n{USAGE}")


class Talk:
    """A session with the daemon."""

    def __init__(self, path: str) -> None:
        """
        @raise Failed: the daemon is not there.
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(path)
        except OSError as error:
            raise Failed(EX_TEMPFAIL, f"the daemon cannot be reached at {path}: {error.strerror or error}") from error
        self._stream: BinaryIO = self._socket.makefile("rb")

    def say(self, line: str) -> tuple[int, str]:
        """Say it; an empty line says nothing.

        @return: the code of the reply and its last line.
        @raise Failed: the daemon has gone.
        """
        try:
            if line:
                self._socket.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
            while (answer := self._stream.readline(4096))[3:4] == b"-":
                continue
        except OSError as error:
            raise Failed(EX_TEMPFAIL, f"the daemon does not answer: {error.strerror or error}") from error
        text = answer.decode("utf-8", "replace").rstrip()
        if not text[:3].isdigit():
            raise Failed(EX_TEMPFAIL, "the daemon has hung up")
        return int(text[:3]), text

    def demand(self, line: str, code: int = EX_UNAVAILABLE) -> str:
        """Say it, and be content with nothing but a yes.

        @raise Failed: with C{code} for a refusal that is permanent.
        """
        answer, text = self.say(line)
        if answer >= 400:
            raise Failed(code if answer >= 500 else EX_TEMPFAIL, text)
        return text

    def send(self, lines: Sequence[bytes]) -> None:
        """The content, with its end."""
        stuffed = (b"." + line if line[:1] == b"." else line for line in lines)
        try:
            self._socket.sendall(b"".join(line + b"\r\n" for line in stuffed) + b".\r\n")
        except OSError as error:
            raise Failed(EX_TEMPFAIL, f"the daemon has hung up: {error.strerror or error}") from error


def run(arguments: Sequence[str], path: str, message: BinaryIO | None = None) -> int:
    """
    @param message: in place of standard input.
    @return: what to exit with.
    """
    if "--help" in arguments:
        print(USAGE)
        return EX_OK
    try:
        content = (sys.stdin.buffer if message is None else message).read()
        _deliver(Request(arguments), path, content)
    except Failed as failed:
        print(f"pysmtpctl enqueue: {failed}", file=sys.stderr)
        return failed.code
    return EX_OK


def main() -> NoReturn:
    """The console command C{pysmtpd-sendmail}, for C{/usr/sbin/sendmail}; C{PYSMTPD_SOCKET} names another control socket."""
    sys.exit(run(sys.argv[1:], besides(os.environ.get("PYSMTPD_SOCKET", DEFAULT_SOCKET))))


def besides(control: str) -> str:
    """The local socket that belongs to a control socket."""
    return os.path.join(os.path.dirname(control), SOCKET)


def _deliver(request: Request, path: str, content: bytes) -> None:
    lines = _LINE.split(content)
    if not lines[-1]:
        lines.pop()
    if lines and lines[0].startswith(b"From "):
        # The first line of an mbox.
        lines.pop(0)
    header = BytesHeaderParser(policy=policy.compat32).parsebytes(content)
    talk = Talk(path)
    host = talk.demand("").split(" ")[1]
    talk.demand("EHLO localhost")
    recipients = list(request.recipients)
    if request.fromHeader:
        fields = [str(value) for name in ("To", "Cc", "Bcc") for value in header.get_all(name, [])]
        recipients += [address for _, address in getaddresses(fields) if address]
    if not recipients:
        raise Failed(EX_USAGE, f"nobody is to have it\n{USAGE}")
    sender = _complete(_user() if request.sender is None else request.sender, host)
    wide = [address for address in (sender, *recipients) if not address.isascii()]
    talk.demand(f"MAIL FROM:<{sender}> BODY=8BITMIME{' SMTPUTF8' if wide else ''}", EX_DATAERR)
    for recipient in dict.fromkeys(recipients):
        talk.demand(f"RCPT TO:<{_complete(recipient, host)}>", EX_NOUSER)
    talk.demand("DATA")
    if "From" not in header:
        added = formataddr((request.name or _fullName(), sender or _complete(_user(), host)))
        lines = [b"From: " + added.encode("utf-8", "replace"), *(lines if header.keys() else [b"", *lines])]
    talk.send(lines)
    talk.demand("")
    talk.say("QUIT")


def _complete(address: str, host: str) -> str:
    """With our host's name, if it has none of its own."""
    if any(character in address for character in "<>\r\n\0"):
        raise Failed(EX_DATAERR, f"{address!r} is no address")
    return address if not address or "@" in address else f"{address}@{host}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return getpass.getuser()


def _fullName() -> str:
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:
        return ""
    return user.pw_gecos.split(",")[0].replace("&", user.pw_name.capitalize())
