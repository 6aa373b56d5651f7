"""C{twistd pysmtpd}, and the console command C{pysmtpd}: the only file that says "reactor"."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from getpass import getpass
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.usage import UsageError

from pysmtpd.backends import NoSuchBackend, pluginFaults
from pysmtpd.checking import asksSystem, checkSyntax, checkSystem, examine, notes, onlyMachine, readTables, survey, tell
from pysmtpd.config.load import Reading
from pysmtpd.config.printer import printed
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.converting import main as convertFile
from pysmtpd.copying import main as copyQueue
from pysmtpd.exitcodes import EX_CONFIG, EX_OK, EX_PRIVILEGE, EX_SPOOL, EX_USAGE, exitCode
from pysmtpd.explaining import main as explain
from pysmtpd.interfaces import IPlatform, ITable
from pysmtpd.makemap import main as makeMap
from pysmtpd.model.config import Config
from pysmtpd.model.queuekey import STDIN, UNUSED, keyOctets
from pysmtpd.options import Options
from pysmtpd.platform.ending import stopOnce
from pysmtpd.platform.real import RealPlatform
from pysmtpd.platform.systemd import ActivatedNetwork, Inherited, inherited, notify, takenByTwisted
from pysmtpd.platform.turns import quicken
from pysmtpd.platform.workers import InPlace
from pysmtpd.privilege.client import Helper, PrivilegedNetwork
from pysmtpd.privilege.daemon import separate
from pysmtpd.privilege.drop import PrivilegeError, chooseUser, prepareSpool
from pysmtpd.privilege.reach import obstacle
from pysmtpd.reading import (
    configurationFiles,
    pkiFiles,
    readConfig,
    reader,
    readHosts,
    readOctets,
    runnable,
    textReader,
)
from pysmtpd.running import Console, Whole, beginLogging, loadAhead, raiseDescriptors
from pysmtpd.service import Daemon, build
from pysmtpd.settings import Settings

_log = Logger(namespace="pysmtpd")

# Descriptors that are kept for connections of the mta (seven of eight), the queue, logs and the control socket; half of them where there
# are few.
KEPT_DESCRIPTORS = 2048
# What the daemon has open before its first session, and then some.
OWN_DESCRIPTORS = 32


class _Unfit(UsageError):
    """The configuration is right, but what it needs cannot be had."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def makeService(options: Options) -> IService:
    """What twistd asks for.

    @raise SystemExit: the configuration is wrong, or was only to be checked; what there is to say was printed.
    """
    from twisted.internet import reactor

    try:
        service = _make(options, reactor)
    except UsageError as error:
        print(f"pysmtpd: {error}", file=sys.stderr)
        sys.exit(error.code if isinstance(error, _Unfit) else EX_CONFIG)
    # twistd itself ends with 0 whenever the reactor has.
    atexit.register(_exitFailed)
    return service


def _exitFailed() -> None:
    if _failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_failed[0])


def _make(options: Options, reactor: Any) -> IService:
    """
    @raise UsageError: the configuration is wrong; the text says everything that is.
    """
    isRoot = os.geteuid() == 0
    if options["user"] and not isRoot:
        raise UsageError("--user is for root; the daemon runs as whoever else starts it")
    helper = Helper(reactor) if isRoot else None
    network: Any = PrivilegedNetwork(reactor, helper) if helper is not None else None
    handed = inherited(os.environ, os.getpid(), takenByTwisted()) if not options["check"] else None
    if handed:
        network = ActivatedNetwork(network or reactor, reactor, handed)
    manager = os.environ.pop("NOTIFY_SOCKET", "")
    quicken(reactor)
    stopOnce(reactor)
    platform = RealPlatform(reactor, network, isRoot, InPlace() if options["check"] else None)
    read = (options["file"], platform, options.defines)
    reading = readConfig(*read)
    files = reading.problems.files
    spool = os.path.abspath(options["spool"])
    if options["check"]:
        _check(options, platform, reading, spool)
    try:
        config = runnable(reading)
    except ConfigErrors as error:
        raise UsageError(str(error)) from error
    queueKey = readQueueKey() if config.queueEncryption == STDIN else ""
    descriptors = raiseDescriptors()
    kept = min(KEPT_DESCRIPTORS, max(descriptors // 2, OWN_DESCRIPTORS))
    console = Console(options["log"], platform)

    def ended(why: str) -> None:
        if why:
            print(f"pysmtpd: {why}", file=sys.stderr)
            _failed.append(exitCode(daemon.trouble))
        reactor.stop()

    settings = Settings(
        spool=spool,
        paused=tuple(options.paused),
        maxSessions=max(1, descriptors - kept),
        connections=kept - kept // 8,
        # More than that are in use: the rest of those that are kept goes to whoever has work already.
        descriptors=descriptors - kept // 8,
        observers=(console.mailLog,) if console.mailLog is not None else (),
        ended=ended,
        opened=lambda: _opened(manager, handed, console.isLost()),
        setVerbose=console.setVerbose,
        readFile=reader(helper, config),
        hosts=readHosts(),
        queueKey=queueKey,
        helper=helper,
        load=lambda: runnable(readConfig(*read, textReader(helper, files))),
    )
    daemon = _build(platform, config, settings)
    _warn(daemon)
    privileged: Callable[[], None] | None = None
    try:
        if helper is None:
            os.makedirs(spool, mode=0o700, exist_ok=True)
        else:
            privileged = _leaveRoot(options, config, files, helper, platform, spool)
    except PrivilegeError as error:
        raise _Unfit(str(error), EX_PRIVILEGE) from error
    except OSError as error:
        raise _Unfit(
            f"the spool directory {spool} cannot be made: {error.strerror}; name another with --spool", EX_SPOOL
        ) from error
    return Whole(daemon, console.close, privileged, reactor.callFromThread, lambda: notify("STOPPING=1", manager))


def readQueueKey() -> str:
    """What C{queue encryption stdin} is about: asked for at a terminal, else the first line.

    @raise UsageError: it is no key.
    """
    stdin = sys.stdin
    try:
        if stdin is None:
            raise EOFError("it is closed")
        key = getpass("Key of the queue: ") if stdin.isatty() else stdin.readline().rstrip("\r\n")
        keyOctets(key)
    except (EOFError, ValueError) as error:
        raise UsageError(f"queue encryption: no key came by standard input: {error}") from error
    return key


def _opened(manager: str, handed: Inherited | None, isMailLogLost: bool) -> None:
    """Every port is open: the service manager may start who waits for us."""
    if isMailLogLost:
        _log.warn("The mail log goes to standard output, and that is nowhere: start twistd with -n, or say --log none")
    for name in handed.names if handed is not None else ():
        print(
            f"warning: nothing in the configuration listens on the socket {name} that we were handed", file=sys.stderr
        )
    notify("READY=1", manager)


def _check(options: Options, platform: IPlatform, reading: Reading, spool: str) -> NoReturn:
    """C{-n}: tell all there is to tell, and exit.

    @raise UsageError: a backend cannot be used.
    """
    if options["syntax"]:
        checkSyntax(reading)
    examine(reading, options["user"])
    tables: Mapping[str, ITable] = {}
    if onlyMachine(reading.problems.found()):
        tables = readTables(reading, platform)
    if problems := reading.problems.found():
        about = survey(platform, reading.config(), tables).warnings if tables else ()
        tell(problems, (*reading.problems.warnings, *about))
    config = reading.config()
    _warn(_build(platform, config, Settings(spool, readFile=readOctets, queueKey=UNUSED)))
    analysis = survey(platform, config, tables)
    for warning in analysis.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in notes(config):
        print(f"note: {note}", file=sys.stderr)
    if options["print"] or options["verbose"]:
        sys.stdout.write(printed(config))
    else:
        print(f"{options['file']}: configuration OK")
        print(f"open relay: {analysis.relaying}")
        if analysis.relaying.trusted:
            print(f"trusted networks: {', '.join(analysis.relaying.trusted)}")
    sys.exit(0)


def _build(platform: IPlatform, config: Config, settings: Settings) -> Daemon:
    """
    @raise UsageError: the configuration names what there is not, or what cannot be used.
    """
    try:
        daemon = build(platform, config, settings)
    except NoSuchBackend as error:
        raise UsageError(str(error)) from error
    checkSystem(config)
    faults = daemon.certificates.faults or daemon.certificates.newest.faultsOf(config)
    if faults:
        raise UsageError("\n".join(faults))
    return daemon


def _warn(daemon: Daemon) -> None:
    for warning in (*daemon.config.warnings, *daemon.certificates.check(), *pluginFaults()):
        print(f"warning: {warning}", file=sys.stderr)


def _leaveRoot(
    options: Options, config: Config, read: Sequence[str], helper: Helper, platform: IPlatform, spool: str
) -> Callable[[], None]:
    """Choose whom the daemon will be, give them the spool, and return what makes the process theirs.

    @param read: the files that the configuration was read from.
    @raise PrivilegeError: there is no such user, or the spool cannot be trusted.
    @raise OSError: the spool cannot be made.
    """
    user = chooseUser(options["user"])
    if options["user"] is None and user.pw_name == "nobody":
        print(
            "warning: the daemon will run as nobody, whom other programs may use, too: make a user _pysmtpd, or name one with --user",
            file=sys.stderr,
        )
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    for what, where in (("Python", os.path.dirname(os.__file__)), ("pysmtpd", os.path.dirname(__file__))):
        closed = obstacle(where, user.pw_uid, groups)
        if closed:
            print(
                f"warning: {user.pw_name} may not enter {closed}, where {what} is: what is loaded only when it is needed will be missing, "
                f"and mail deferred for it; put {what} where {user.pw_name} may read it",
                file=sys.stderr,
            )
    loadAhead()
    prepareSpool(spool, user.pw_uid, user.pw_gid)
    helper.workers = platform.workers
    addresses = [(address, spec.port) for spec in config.listeners for address in spec.addresses]
    # The helper has another working directory.
    files = {(pki.name, part): os.path.abspath(path) for pki in config.pki.values() for part, path in pkiFiles(pki)}
    files |= {(ca.name, "ca"): os.path.abspath(ca.cert) for ca in config.ca.values()}
    files |= configurationFiles(read)
    hasIds = any(action.userbase is not None for action in config.actions.values())
    return lambda: separate(helper, user, addresses, files, asksSystem(config), hasIds)


def _say(text: str) -> None:
    """Print it, to whoever reads on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nothing is to be flushed at the end, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# The exit code, if the daemon could not start.
_failed: list[int] = []


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command: the daemon in the foreground, until SIGTERM, SIGINT or C{pysmtpctl stop}."""
    try:
        try:
            _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError as error:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ending = error.__context__
        sys.exit(ending.code if isinstance(ending, SystemExit) else EX_OK)


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["copy"]:
        from twisted.internet import reactor

        copyQueue(arguments[1:], reactor)
        return
    if arguments[:1] == ["explain"]:
        from twisted.internet import reactor

        explain(arguments[1:], reactor, os.geteuid() == 0, _say)
        return
    if arguments[:1] == ["convert"]:
        convertFile(arguments[1:])
        return
    if arguments[:1] in (["makemap"], ["newaliases"]):
        makeMap(arguments[0], arguments[1:])
        return
    options = Options()
    try:
        options.parseOptions(arguments)
    except UsageError as error:
        print(f"pysmtpd: {error}\nTry: pysmtpd --help", file=sys.stderr)
        sys.exit(EX_USAGE)
    if not options["check"]:
        beginLogging(sys.stderr)
    from twisted.internet import reactor

    service = makeService(options)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    sys.exit(_failed[0] if _failed else 0)
