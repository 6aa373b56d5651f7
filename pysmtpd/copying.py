"""C{pysmtpd copy}: a queue from one backend to another, while no daemon runs on either."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.usage import Options, UsageError

from pysmtpd.backends import NoSuchBackend, makeBackend
from pysmtpd.exitcodes import EX_OK, EX_USAGE
from pysmtpd.interfaces import Durability, IPlatform, IQueueBackend, QueueError, SpoolError
from pysmtpd.model.config import BackendSpec, QueueLimits
from pysmtpd.platform.real import RealPlatform
from pysmtpd.queue import fs, sqlite
from pysmtpd.queue.copy import copy
from pysmtpd.queue.spool import FORMAT, placeOf

EX_INCOMPLETE = 1

# Where in the spool a backend's queue is, if nothing else is said.
_PLACES = {"sqlite": sqlite.DEFAULT_PLACE, "fs": fs.DEFAULT_PLACE}


class CopyOptions(Options):
    """The command line of C{pysmtpd copy}."""

    synopsis = "Usage: pysmtpd copy --spool DIR --from NAME:ARGUMENT --to NAME:ARGUMENT"
    longdesc = (
        "Copies all queued mail from one queue backend to another. The source is only read. No daemon may run on either. A copy "
        "that was broken off is taken up again by running it once more. Exit codes: 0 all was copied; 1 it was refused, has failed, "
        "or left something; 2 wrong usage."
    )
    optParameters = [
        ["spool", None, "/var/spool/pysmtpd", "The spool directory; relative places of backends lie in it."],
        ["from", None, None, 'The backend to copy from, as in the configuration: "sqlite:", "fs:/srv/queue".'],
        ["to", None, None, "The backend to copy to; it must be empty, or hold an earlier part of this copy."],
    ]
    compData = None

    def postOptions(self) -> None:
        for name in ("from", "to"):
            if not self[name]:
                raise UsageError(f"--{name} names a backend: --{name} sqlite:")
        if self["from"] == self["to"]:
            raise UsageError("--from and --to are the same")


def main(arguments: Sequence[str], reactor: Any) -> None:
    """Copy, and end the process."""
    options = CopyOptions()
    codes: list[int] = []
    try:
        options.parseOptions(arguments)
        spool = os.path.abspath(options["spool"])
        platform = RealPlatform(reactor)
        # All that root may read and others may not, our own files perhaps, is read before the rights are gone.
        source, target = _backend(options["from"], spool, platform), _backend(options["to"], spool, platform)
        _becomeOwner(spool)
        _checkSource(options["from"], spool)
    except (UsageError, NoSuchBackend) as error:
        print(f"pysmtpd copy: {error}\nTry: pysmtpd copy --help", file=sys.stderr)
        sys.exit(EX_USAGE)

    def run(_: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_run(source, target, f"from {options['from']} to {options['to']}", codes))

    try:
        react(run, _reactor=reactor)
    except SystemExit as exit:
        sys.exit(exit.code or codes[0])


def _checkSource(text: str, spool: str) -> None:
    """A backend makes what is not there, and a typing error would look like an empty queue.

    @raise UsageError: there is no queue. That of a plugin's backend is not looked for.
    """
    name, _, argument = text.partition(":")
    if name in _PLACES:
        place = placeOf(argument, spool, _PLACES[name])
        if not os.path.exists(f"{place}/{FORMAT}"):
            raise UsageError(f"there is no queue in {place}: nothing to copy from {text}")


def _becomeOwner(spool: str) -> None:
    """What root would write, the daemon could not read: be whom the spool belongs to.

    @raise UsageError: there is no such spool.
    """
    try:
        owner = os.stat(spool)
    except OSError as error:
        raise UsageError(f"{spool}: {error.strerror}; name the spool directory with --spool") from error
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
        os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)


async def _run(source: IQueueBackend, target: IQueueBackend, which: str, codes: list[int]) -> None:
    try:
        copied = await copy(source, target, _showing())
    except (SpoolError, QueueError) as error:
        print(f"pysmtpd copy: {error}", file=sys.stderr)
        codes.append(EX_INCOMPLETE)
        return
    present = f"; {copied.present} were there already" if copied.present else ""
    print(f"{copied.messages} messages copied {which}{present}")
    for aside in copied.left:
        print(f"not copied: {aside.item}: {aside.reason}", file=sys.stderr)
    codes.append(EX_INCOMPLETE if copied.left else EX_OK)


def _backend(text: str, spool: str, platform: IPlatform) -> IQueueBackend:
    """
    @raise NoSuchBackend: there is none of that name.
    @raise UsageError: it keeps nothing.
    """
    name, _, argument = text.partition(":")
    settings = {"spool": spool, "limits": QueueLimits()}
    backend: IQueueBackend = makeBackend("queue", BackendSpec(name, argument), platform, settings)
    if backend.durability is not Durability.DURABLE:
        raise UsageError(f"{text} is {backend.durability.value}: there is nothing to copy from it or to it")
    return backend


def _showing() -> Callable[[int], None]:
    """Progress, for who watches."""
    if not sys.stderr.isatty():
        return lambda done: None
    return lambda done: print(f"\r{done} messages", end="" if done % 1000 else "\n", file=sys.stderr, flush=True)
