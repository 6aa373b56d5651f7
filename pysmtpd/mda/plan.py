"""What is to be done with one envelope, decided from values alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import formatdate

from pysmtpd.mda.header import isSpam
from pysmtpd.model.action import Action, Command, Method
from pysmtpd.model.address import Path, untagged
from pysmtpd.model.command import NeedsShell, checkShell, splitCommand
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Destination, Envelope, Message
from pysmtpd.model.ids import formatEnvelopeId
from pysmtpd.model.specifiers import MDA, checkFormat, expandPath, expandWords, usesDirectory
from pysmtpd.model.task import Account, CommandTask, MaildirTask, MboxTask, Task
from pysmtpd.model.value import value

# Where commands without a slash are looked for.
PATH = "/usr/local/bin:/usr/bin:/bin"

# The system's mailboxes.
MAIL = "/var/mail"

# In aliases and .forward: it is thrown away.
NOWHERE = "/dev/null"

SPAM_FOLDER = "Junk"

_NOT_IN_FROM_LINE = re.compile(r"[\s\x00-\x1f\x7f]")


class ConfigurationFault(ValueError):
    """An operator, or a user with a command in a .forward, has something to mend; until then the mail waits."""


@value
class Letter:
    """One envelope and all that is known of its delivery.

    @ivar head: the beginning of the content.
    @ivar now: wall-clock seconds.
    @ivar hostname: fit for a file's name.
    @ivar program: the words that run L{pysmtpd.mda.__main__}.
    """

    message: Message
    envelope: Envelope
    account: Account
    head: bytes
    now: float
    hostname: str
    program: tuple[str, ...] = ()


def method(action: Action, destination: Destination) -> Method:
    """What is really done: what an expansion gave comes before the action's own."""
    if destination.command:
        return Method.MDA
    if destination.file:
        return Method.MBOX
    return Method.MDA if action.wrapper and action.method in (Method.MAILDIR, Method.MBOX) else action.method


def needsHome(config: Config, action: Action, destination: Destination) -> bool:
    """Must the account's home be known before there is a plan? A host knows the one of its own user."""
    return method(action, destination) is Method.MDA or usesDirectory(action.path)


def plan(config: Config, action: Action, letter: Letter) -> Task | None:
    """
    @return: None: the message is to be thrown away.
    @raise ConfigurationFault: it cannot be done as it is written.
    """
    destination = letter.envelope.destination
    try:
        if destination.command:
            return _command(config, splitCommand(destination.command), letter)
        if destination.file:
            return _mbox(letter, destination.file) if destination.file != NOWHERE else None
        if action.method is Method.MDA and action.command is not None:
            return _command(config, _wrapped(config, action, _words(action.command)), letter)
        if action.wrapper and action.method in (Method.MAILDIR, Method.MBOX):
            return _command(config, _wrapped(config, action, _own(config, action, letter)), letter)
        if action.method is Method.MAILDIR:
            return _maildir(config, action, letter)
        if action.method is Method.MBOX:
            return _mbox(letter, _mailbox(destination.user), isSystem=True)
    except NeedsShell as error:
        advice = f'; write "|{error.rewrite}"' if error.rewrite else ""
        raise ConfigurationFault(f"Command of {destination.recipient}: {error}{advice}") from error
    except ValueError as error:
        raise ConfigurationFault(f"{_what(action, destination)}: {error}") from error
    raise ConfigurationFault(f'The action "{action.name}" is no longer one for local delivery')


def _what(action: Action, destination: Destination) -> str:
    return f"Command of {destination.recipient}" if destination.command else f'The action "{action.name}"'


# --- values


def trace(message: Message, destination: Destination) -> bytes:
    """What is put before the content: the sender as it is known now (RFC 5321 4.4), and the address that the loop check looks for."""
    sender = message.transaction.sender
    return f"Return-Path: <{sender}>\r\nDelivered-To: {destination.recipient}\r\n".encode()


def _values(letter: Letter) -> Mapping[str, str]:
    """For format specifiers."""
    sender, destination = letter.message.transaction.sender, letter.envelope.destination
    values = {
        "user.username": letter.account.name,
        "user.directory": letter.account.home,
        "mbox.from": _mboxFrom(sender),
    }
    paths = {"sender": sender, "rcpt": destination.original, "dest": destination.recipient}
    for name, address in paths.items():
        values |= {name: str(address), f"{name}.user": address.local, f"{name}.domain": address.domain}
    return values


def _mboxFrom(sender: Path) -> str:
    return str(sender) or "MAILER-DAEMON"


def _tag(config: Config, destination: Destination) -> str:
    local = destination.recipient.local
    user = untagged(local, config.subAddressDelimiter)
    return local[len(user) + 1 :]


# --- maildir and mbox


def _maildir(config: Config, action: Action, letter: Letter) -> MaildirTask:
    envelope = letter.envelope
    name = f"{int(envelope.created)}.E{formatEnvelopeId(envelope.id)}.{letter.hostname}"
    prefix = trace(letter.message, envelope.destination)
    path, beneath = _maildirPath(config, action, letter)
    if action.junk and isSpam(letter.head):
        return MaildirTask(path, name, prefix, beneath, SPAM_FOLDER, isFolderMade=True)
    folder = _folder(_tag(config, envelope.destination))
    return MaildirTask(path, name, prefix, beneath, folder)


def _maildirPath(config: Config, action: Action, letter: Letter) -> tuple[str, str]:
    path, beneath = (action.path or "~/Maildir").rstrip("/"), ""
    if "%" in path:
        # Not for the usual path: values cost time.
        path, beneath = expandPath(path, _values(letter), lambda local: untagged(local, config.subAddressDelimiter))
    account = letter.account
    if account.isNumeric and path.startswith("~/"):
        # The host knows ids only.
        home = account.home.rstrip("/")
        return home + path[1:], (home or "/") if beneath == "~" else home + beneath[1:] if beneath else ""
    return path, beneath


def _folder(tag: str) -> str:
    """The name of a sub-address's folder, by the rules for paths; empty: none can have it."""
    if not tag:
        return ""
    name = expandPath("/%{dest}", {"dest": tag}, str).path[1:]
    return name if len(name.encode("utf-8", "surrogateescape")) < 255 else ""


def _mailbox(user: str) -> str:
    if not user or "/" in user or user.startswith("."):
        raise ValueError(f"no mailbox is named {user!r}")
    return f"{MAIL}/{user}"


def _mbox(letter: Letter, path: str, isSystem: bool = False) -> MboxTask:
    sender = _NOT_IN_FROM_LINE.sub("_", _mboxFrom(letter.message.transaction.sender))
    # asctime(3), in UTC.
    day, date, month, year, time, _ = formatdate(letter.now).replace(",", "").split()
    line = f"From {sender} {day} {month} {int(date):2} {time} {year}"
    return MboxTask(path, line, trace(letter.message, letter.envelope.destination), isSystem)


# --- commands


def _words(command: Command) -> tuple[str, ...]:
    # A shell's text is no place for format specifiers: all of it is what the operator wrote.
    return ("/bin/sh", "-c", command.shell.replace("%", "%%")) if command.shell else command.words


def _own(config: Config, action: Action, letter: Letter) -> tuple[str, ...]:
    """The command that does what the action's method does, for a wrapper. See L{pysmtpd.mda.__main__}."""
    if action.method is Method.MBOX:
        mbox = _mbox(letter, _mailbox(letter.envelope.destination.user))
        words: tuple[str, ...] = ("mbox", mbox.path, mbox.fromLine)
    else:
        task = _maildir(config, action, letter)
        make = "make" if task.isFolderMade else ""
        words = ("maildir", task.path, task.name, task.beneath, task.folder, make)
    # They are finished: nothing in them is a format specifier any more.
    return tuple(word.replace("%", "%%") for word in (*letter.program, *words))


def _wrapped(config: Config, action: Action, words: Sequence[str]) -> tuple[str, ...]:
    """
    @raise ValueError: there is no such wrapper.
    """
    if not action.wrapper:
        return tuple(words)
    wrapper = config.wrappers.get(action.wrapper)
    if wrapper is None:
        raise ValueError(f'there is no wrapper "{action.wrapper}"')
    found: list[str] = []
    for word in _words(wrapper):
        if word.lower() == MDA:
            found += words
        else:
            found.append(word)
    return tuple(found)


def _command(config: Config, words: Sequence[str], letter: Letter) -> CommandTask:
    for word in words:
        checkFormat(word)
    checkShell(words)
    strip = lambda local: untagged(local, config.subAddressDelimiter)  # noqa: E731
    argv = expandWords(words, _values(letter), strip)
    return CommandTask(
        argv,
        _environment(config, letter),
        letter.account.home or "/",
        config.mda.commandTimeout,
        trace(letter.message, letter.envelope.destination),
    )


def _environment(config: Config, letter: Letter) -> Mapping[str, str]:
    destination, account = letter.envelope.destination, letter.account
    values = {
        "PATH": PATH,
        "SHELL": "/bin/sh",
        "HOME": account.home or "/",
        "USER": account.name,
        "LOGNAME": account.name,
        "SENDER": str(letter.message.transaction.sender),
        "RECIPIENT": str(destination.recipient),
        "ORIGINAL_RECIPIENT": str(destination.original),
        "DOMAIN": destination.original.domain,
        "LOCAL": destination.original.local,
    }
    tag = _tag(config, destination)
    return values | {"EXTENSION": tag} if tag else values
