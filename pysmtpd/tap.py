"""C{twistd pysmtpd}, and the console command C{pysmtpd}: the only file that says "reactor"."""

from __future__ import annotations

import atexit
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from pysmtpd import __version__
from pysmtpd.analysing import analyse
from pysmtpd.backends import NoSuchBackend
from pysmtpd.checking import checkSyntax, examine, notes, tell
from pysmtpd.config.environment import Environment
from pysmtpd.config.load import Reading
from pysmtpd.config.printer import printed
from pysmtpd.config.problem import ConfigErrors
from pysmtpd.config.unbuilt import unbuilt
from pysmtpd.converting import main as convertFile
from pysmtpd.copying import main as copyQueue
from pysmtpd.exitcodes import EX_CONFIG, EX_PRIVILEGE, EX_SPOOL, EX_USAGE, exitCode
from pysmtpd.explaining import main as explain
from pysmtpd.interfaces import HelperFailed, IPlatform
from pysmtpd.makemap import main as makeMap
from pysmtpd.model.config import AuthMode, Config, ListenerSpec, PkiSpec
from pysmtpd.platform.descriptor import descriptorSink
from pysmtpd.platform.real import RealPlatform
from pysmtpd.platform.system import readInterfaceAddresses, readServerName, resolveHost
from pysmtpd.platform.systemd import ActivatedNetwork, Inherited, inherited, notify, takenByTwisted
from pysmtpd.platform.turns import quicken
from pysmtpd.privilege import password
from pysmtpd.privilege.client import Helper, PrivilegedNetwork
from pysmtpd.privilege.daemon import separate
from pysmtpd.privilege.drop import PrivilegeError, chooseUser, prepareSpool
from pysmtpd.report.jsonlog import JsonLog
from pysmtpd.report.maillog import MailLog
from pysmtpd.report.writer import LogWriter
from pysmtpd.service import PARTS, Daemon, Settings, build
from pysmtpd.table.regex import checkPattern
from pysmtpd.tls.certificates import Certificates

DEFAULT_CONFIGURATION = "/etc/pysmtpd/smtpd.conf"
DEFAULT_SPOOL = "/var/spool/pysmtpd"

# Descriptors that are kept for the queue, connections of the mta, logs and the control socket; half of them where there are few.
KEPT_DESCRIPTORS = 512
# What the daemon has open before its first session, and then some.
OWN_DESCRIPTORS = 32

# Thresholds of the three generations; Python's own are 700, 10, 10.
COLLECT = (20_000, 20, 50)


class Options(UsageOptions):
    """The command line, of twistd's subcommand and of the console command alike."""

    longdesc = (
        "Runs the mail transfer agent pysmtpd. pysmtpctl steers it. `pysmtpd copy` moves a queue from one backend to another, "
        "`pysmtpd convert` turns a configuration of OpenSMTPD before 6.4 into today's; "
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
        name, equals, value = definition.partition("=")
        if not equals or not name:
            raise UsageError(f"-D takes NAME=VALUE, not {definition!r}")
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

    def postOptions(self) -> None:
        if not self["check"] and (self["syntax"] or self["print"] or self["verbose"]):
            raise UsageError("--syntax, --print and -v go with -n")
        if self["log"] not in ("text", "json", "none"):
            raise UsageError(f"--log takes text, json or none, not {self['log']!r}")


def readConfig(options: Options, platform: IPlatform) -> Reading:
    """The configuration, and all that is wrong with it."""
    return _read(options["file"], platform, options.defines)


def loadConfig(options: Options, platform: IPlatform) -> Config:
    """The configuration, if a daemon can run with it.

    @raise ConfigErrors: everything that is wrong with the file.
    """
    reading = readConfig(options, platform)
    reading.problems.raiseIfAny()
    config = reading.config()
    for word, where in unbuilt(config):
        reading.problems.add(where, f'"{word}" is not built yet: the daemon does not run with it')
    reading.problems.raiseIfAny()
    return config


def _read(file: str, platform: IPlatform, defines: Mapping[str, str]) -> Reading:
    return Reading(file, readFile, environment(platform), defines)


def _load(file: str, platform: IPlatform, defines: Mapping[str, str]) -> Config:
    reading = _read(file, platform, defines)
    reading.problems.raiseIfAny()
    return reading.config()


def readFile(path: str) -> str:
    """
    @raise OSError: it cannot be read.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def readOctets(path: str) -> bytes:
    """
    @raise OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return file.read()


def reader(helper: Helper | None, config: Config) -> Callable[[str], bytes]:
    """How certificates and keys are read: by ourselves; once root's rights are gone, those of the start by the helper.

    @param config: that of the start.
    """
    known = {path: (pki.name, part) for pki in config.pki.values() for part, path in _pkiFiles(pki)}
    known |= {ca.cert: (ca.name, "ca") for ca in config.ca.values()}

    def read(path: str) -> bytes:
        if helper is None or not helper.isAlive or path not in known:
            return readOctets(path)
        try:
            return helper.readFile(*known[path])
        except HelperFailed as error:
            raise OSError(0, str(error)) from error

    return read


def _pkiFiles(pki: PkiSpec) -> tuple[tuple[str, str], ...]:
    return (("cert", pki.cert), ("key", pki.key))


def _hosts() -> str:
    try:
        return readFile("/etc/hosts")
    except OSError:
        return ""


def environment(platform: IPlatform) -> Environment:
    """What a configuration needs to know of this machine."""
    interfaces: dict[str, list[str]] = {}
    for name, address in readInterfaceAddresses():
        interfaces.setdefault(name, []).append(address)
    return Environment(
        serverName=readServerName(platform.hostname),
        localAddresses=platform.localAddresses(),
        interfaces=interfaces,
        resolve=resolveHost,
        regexFault=regexFault,
    )


def regexFault(expression: str) -> str:
    """Why it is no regular expression that a table may hold; empty: it is one."""
    try:
        checkPattern(expression)
    except ValueError as error:
        return str(error)
    return ""


def raiseDescriptors() -> int:
    """Raise the limit of open descriptors as far as it goes.

    @return: how many this process may have open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(wanted, 1_048_576) if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


class _Console:
    """The two logs of the daemon: facts on standard output, the daemon's own words on standard error."""

    def __init__(self, form: str, platform: IPlatform) -> None:
        self._writer = LogWriter(descriptorSink(1), platform.workers, platform.clock)
        self.mailLog = (
            None if form == "none" else (JsonLog if form == "json" else MailLog)(self._writer.write, verbose=True)
        )

    def setVerbose(self, verbose: bool) -> None:
        if self.mailLog is not None:
            self.mailLog.verbose = verbose

    def close(self) -> Deferred[None]:
        return self._writer.close()


class _Whole(MultiService):
    """The daemon, and the mail log that outlives it by a moment."""

    def __init__(
        self,
        daemon: Daemon,
        close: Callable[[], Deferred[None]],
        privileged: Callable[[], None] | None,
        later: Callable[[Callable[[], None]], object],
        stopping: Callable[[], None],
    ) -> None:
        """
        @param later: has something called in the reactor's next turn; may be called by a signal's handler.
        @param stopping: tells whoever watches over us that we end on purpose.
        @param privileged: what root does before anything starts; it is not root's process any more then.
        """
        super().__init__()
        daemon.setServiceParent(self)
        self._daemon = daemon
        self._close = close
        self._privileged = privileged
        self._later = later
        self._stopping = stopping

    def privilegedStartService(self) -> None:
        """Leave root's rights behind, if there are any. twistd calls this after it has become a daemon, before the reactor runs."""
        privileged, self._privileged = self._privileged, None
        if privileged is not None:
            try:
                privileged()
            except (PrivilegeError, HelperFailed, OSError) as error:
                print(f"pysmtpd: root's rights cannot be left behind: {error}", file=sys.stderr)
                sys.exit(EX_PRIVILEGE)
        super().privilegedStartService()

    def startService(self) -> None:
        """Start the daemon, with a collector of garbage that leaves alone what was made until now.

        A session or message leaves no cycles behind (tests/listen measures it), so collections find next to nothing, and each full one
        would walk everything that was loaded at start.
        """
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._hungUp)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        super().startService()

    def _hungUp(self, *signalled: object) -> None:
        """In the reactor's own time: a signal may come anywhere."""
        self._later(self._daemon.hangUp)

    def stopService(self) -> Deferred[None]:
        """The daemon ends in order, then its log."""
        self._stopping()
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(lambda _: self._close())


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
    platform = RealPlatform(reactor, network, isRoot)
    reading = readConfig(options, platform)
    spool = os.path.abspath(options["spool"])
    if options["check"]:
        _check(options, platform, reading, spool)
    try:
        reading.problems.raiseIfAny()
    except ConfigErrors as error:
        raise UsageError(str(error)) from error
    config = reading.config()
    if missing := notes(config):
        raise UsageError("\n".join(missing))
    descriptors = raiseDescriptors()
    kept = min(KEPT_DESCRIPTORS, max(descriptors // 2, OWN_DESCRIPTORS))
    console = _Console(options["log"], platform)

    def ended(why: str) -> None:
        if why:
            print(f"pysmtpd: {why}", file=sys.stderr)
            _failed.append(exitCode(daemon.trouble))
        reactor.stop()

    settings = Settings(
        spool=spool,
        paused=tuple(options.paused),
        maxSessions=max(1, descriptors - kept),
        # More than that are in use: the rest of those that are kept goes to whoever has work already.
        descriptors=descriptors - kept // 8,
        observers=(console.mailLog,) if console.mailLog is not None else (),
        ended=ended,
        opened=lambda: _opened(manager, handed),
        setVerbose=console.setVerbose,
        readFile=reader(helper, config),
        hosts=_hosts(),
        helper=helper,
        load=lambda: loadConfig(options, platform),
    )
    daemon = _build(platform, config, settings)
    _warn(daemon)
    privileged: Callable[[], None] | None = None
    try:
        if helper is None:
            os.makedirs(spool, mode=0o700, exist_ok=True)
        else:
            privileged = _leaveRoot(options, config, helper, platform, spool)
    except PrivilegeError as error:
        raise _Unfit(str(error), EX_PRIVILEGE) from error
    except OSError as error:
        raise _Unfit(
            f"the spool directory {spool} cannot be made: {error.strerror}; name another with --spool", EX_SPOOL
        ) from error
    return _Whole(daemon, console.close, privileged, reactor.callFromThread, lambda: notify("STOPPING=1", manager))


def _opened(manager: str, handed: Inherited | None) -> None:
    """Every port is open: the service manager may start who waits for us."""
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
    examine(reading, pkiFaults)
    if problems := reading.problems.found():
        tell(problems, reading.problems.warnings)
    config = reading.config()
    _warn(_build(platform, config, Settings(spool, readFile=readOctets)))
    analysis = analyse(config)
    for warning in analysis.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in notes(config):
        print(f"note: {note}", file=sys.stderr)
    if options["print"] or options["verbose"]:
        sys.stdout.write(printed(config))
    else:
        print(f"{options['file']}: configuration OK")
        print(f"open relay: {analysis.relaying}")
    sys.exit(0)


def pkiFaults(pki: Mapping[str, PkiSpec]) -> Mapping[str, Sequence[str]]:
    """Why certificates and keys cannot be used, by the names of their pkis."""
    return {
        name: [
            fault.removeprefix(f"{spec.where}: ") for fault in Certificates({name: spec}, readOctets, time.time).faults
        ]
        for name, spec in pki.items()
    }


def _build(platform: IPlatform, config: Config, settings: Settings) -> Daemon:
    """
    @raise UsageError: the configuration names what there is not, or what cannot be used.
    """
    try:
        daemon = build(platform, config, settings)
    except NoSuchBackend as error:
        raise UsageError(str(error)) from error
    _checkSystem(config)
    faults = daemon.certificates.faults or daemon.certificates.newest.faultsOf(config)
    if faults:
        raise UsageError("\n".join(faults))
    return daemon


def _warn(daemon: Daemon) -> None:
    for warning in (*daemon.config.warnings, *daemon.certificates.check()):
        print(f"warning: {warning}", file=sys.stderr)


def _leaveRoot(options: Options, config: Config, helper: Helper, platform: IPlatform, spool: str) -> Callable[[], None]:
    """Choose whom the daemon will be, give them the spool, and return what makes the process theirs.

    @raise PrivilegeError: there is no such user, or the spool cannot be trusted.
    @raise OSError: the spool cannot be made.
    """
    user = chooseUser(options["user"])
    if options["user"] is None and user.pw_name == "nobody":
        print(
            "warning: the daemon will run as nobody, whom other programs may use, too: make a user _pysmtpd, or name one with --user",
            file=sys.stderr,
        )
    prepareSpool(spool, user.pw_uid, user.pw_gid)
    helper.workers = platform.workers
    addresses = [(address, spec.port) for spec in config.listeners for address in spec.addresses]
    files = {(pki.name, part): path for pki in config.pki.values() for part, path in _pkiFiles(pki)}
    files |= {(ca.name, "ca"): ca.cert for ca in config.ca.values()}
    hasIds = any(action.userbase is not None for action in config.actions.values())
    return lambda: separate(helper, user, addresses, files, asksSystem(config), hasIds)


def asksSystem(config: Config) -> bool:
    """Does a listener check passwords of the system's users?"""
    return any(_asksSystem(spec) for spec in config.listeners)


def _asksSystem(spec: ListenerSpec) -> bool:
    return spec.auth is not AuthMode.NONE and spec.authTable is None


def _checkSystem(config: Config) -> None:
    """
    @raise UsageError: a listener wants to check passwords of the system's users, and we cannot.
    """
    for spec in config.listeners:
        if not _asksSystem(spec):
            continue
        if os.geteuid() != 0:
            raise UsageError(
                f"{spec.where}: auth without a table asks the system for its users' passwords, which needs root: "
                "start the daemon as root, or name a table"
            )
        missing = password.missing()
        if missing:
            raise UsageError(f"{spec.where}: auth without a table asks the system for its users' passwords: {missing}")


# The exit code, if the daemon could not start.
_failed: list[int] = []


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command: the daemon in the foreground, until SIGTERM, SIGINT or C{pysmtpctl stop}."""
    if arguments is None:
        arguments = sys.argv[1:]
    if arguments[:1] == ["copy"]:
        from twisted.internet import reactor

        copyQueue(arguments[1:], reactor)
        return
    if arguments[:1] == ["explain"]:
        explain(arguments[1:], DEFAULT_CONFIGURATION, _load)
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
        _beginLogging(sys.stderr)
    from twisted.internet import reactor

    service = makeService(options)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    sys.exit(_failed[0] if _failed else 0)


def _beginLogging(stream: TextIO) -> None:
    levels = LogLevelFilterPredicate(LogLevel.info)
    # It tells of every pysmtpctl that comes and goes.
    levels.setLogLevelForNamespace("twisted.protocols.amp", LogLevel.warn)
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(stream), [levels])], redirectStandardIO=False
    )
