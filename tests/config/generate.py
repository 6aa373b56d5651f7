"""Random configurations: valid ones that between them use every production of the grammar, and mutated ones.

Names are declared before they are used, as the language asks for. C{@DIR@} in a text stands for a directory that holds C{cert.pem},
C{key.pem}, C{list}, C{map} and C{included.conf}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from pysmtpd.config.words import RESERVED

INCLUDED = "# what others keep\nsmtp max-message-size 20M\n\n"
NAMES = (
    "a",
    "b1",
    "local",
    "out-going",
    "x_y",
    "example.org",
    "mx.example.org",
    "Zoë",
    "two words",
    "relay",
    "4d",
    "7",
)
DOMAINS = ("example.org", "*.example.net", "sub.example.com", "xn--bcher-kva.example", "*", "local")
ADDRESSES = ("ann@example.org", "@example.org", "@", "ben", "ben@*.example.net")
NETWORKS = ("192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "local", "127.0.0.1")
HOSTS = ("mx.example.org", "a.example", "localhost")
URLS = ("smtp://mx.example.org", "mx.example.org:2525", "smtp+notls://192.0.2.1", "smtps://[2001:db8::1]:465")
DELAYS = ("1s", "30s", "5m", "4h", "2d", "7d")
_BARE = re.compile(r"[A-Za-z0-9_:][!-~]*\Z")
_NUMBER = re.compile(r"[0-9]+\Z")
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[A-Za-z0-9_:@$./+*-]+|=>|\n|[^\sA-Za-z0-9]")

# What a single bound of each kind is called.
_MTA = tuple(
    word
    for word in (
        *("max-conn-per-host", "max-conn-per-route", "max-conn-per-source", "max-conn-per-connector"),
        *("max-conn-per-relay", "max-conn-per-domain", "conn-delay-host", "conn-delay-route", "conn-delay-source"),
        *("conn-delay-connector", "conn-delay-relay", "conn-delay-domain", "reconn-delay-route", "session-mail-max"),
        *("session-transaction-delay", "session-keepalive", "max-failures-per-session"),
        *("task-hiwat", "task-lowat", "task-release"),
    )
)
_MDA = ("max-session", "max-session-per-user", "task-hiwat", "task-lowat", "task-release")
_SCHEDULER = ("max-inflight", "max-evp-batch-size", "max-msg-batch-size", "max-schedule")
_SMTP = ("max-mails", "max-rcpt")

# Which conditions a phase knows.
_CONDITIONS = {
    "connect": ("fcrdns", "rdns", "src"),
    "helo": ("fcrdns", "rdns", "src", "helo"),
    "ehlo": ("fcrdns", "rdns", "src", "helo"),
    "auth": ("fcrdns", "rdns", "src", "helo", "auth"),
    "mail-from": ("fcrdns", "rdns", "src", "helo", "auth", "mail-from"),
    "rcpt-to": ("fcrdns", "rdns", "src", "helo", "auth", "mail-from", "rcpt-to"),
    "data": ("fcrdns", "rdns", "src", "helo", "auth", "mail-from"),
    "commit": ("fcrdns", "rdns", "src", "helo", "auth", "mail-from"),
}


class Generator:
    """Writes one configuration.

    @ivar hit: the productions that it used.
    @ivar ownWords: use words that OpenSMTPD does not have, too.
    @ivar isOlder: leave out what OpenSMTPD 6.8 does not have.
    """

    def __init__(self, random: Random, ownWords: bool = False, isOlder: bool = False) -> None:
        self.random = random
        self.ownWords = ownWords
        self.isOlder = isOlder
        self.hit: set[str] = set()
        self.lines: list[str] = []
        self.names: dict[str, list[str]] = {}
        self.count = 0
        self.ports = 1000
        self.hasSocket = False
        self.hasSrsKey = False
        self.once: set[str] = set()

    # --- small things

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def use(self, production: str) -> None:
        self.hit.add(production)

    def text(self, value: str) -> str:
        """A string, written in one of the ways in which it can be."""
        isBare = _BARE.match(value) and not re.search(r"[(){}<>!=#,\\\"']", value)
        if isBare and value not in RESERVED and not _NUMBER.match(value) and not re.match(r"-?[0-9]+/", value):
            if self.chance(0.6):
                return value
        if self.chance(0.3) and "'" not in value:
            return f"'{value}'"
        return '"' + value.replace('"', '\\"') + '"'

    def fresh(self, kind: str) -> str:
        """A name that nothing of its kind has, now declared."""
        self.count += 1
        name = f"{self.random.choice(NAMES)}{self.count}"
        self.names.setdefault(kind, []).append(name)
        return name

    def known(self, *kinds: str) -> str | None:
        names = [name for kind in kinds for name in self.names.get(kind, ())]
        return self.random.choice(names) if names else None

    def some(self, options: Sequence[Callable[[], str]], most: int = 4) -> list[str]:
        """A few options, each once at most, in any order."""
        chosen = self.random.sample(list(options), self.random.randint(0, min(most, len(options))))
        return [option() for option in chosen]

    # --- tables

    def braces(self, items: Sequence[str], pair: bool = False) -> str:
        """Entries with any separator that is allowed between them."""
        style = self.random.random()
        if style < 0.5:
            return "{ " + ", ".join(items) + " }"
        if style < 0.7:
            return "{" + " ".join(items) + "}"
        if style < 0.85:
            self.use("newline between entries")
            return "{ " + "\n".join(items) + " }"
        if self.isOlder:
            return "{ " + " ,".join(items) + " }"
        self.use("newline beside brace or comma")
        return "{\n" + ",\n".join(items) + "\n}"

    def listOf(self, values: Sequence[str]) -> str:
        self.use("inline list")
        chosen = self.random.choices(values, k=self.random.randint(1, 3))
        return self.braces([self.text(value) for value in chosen])

    def mapOf(self, keys: Sequence[str], values: Sequence[str]) -> str:
        self.use("inline map")
        arrow = self.random.choice((" = ", " => ", "="))
        chosen = self.random.sample(list(keys), self.random.randint(1, min(3, len(keys))))
        return self.braces([f"{self.text(key)}{arrow}{self.text(self.random.choice(values))}" for key in chosen], True)

    def aList(self, values: Sequence[str]) -> str:
        """A list where a table is taken."""
        name = self.known("list")
        if name and self.chance(0.4):
            self.use("table reference")
            return f"<{self.text(name)}>"
        if self.chance(0.4):
            self.use("inline value")
            return self.text(self.random.choice(values))
        return self.listOf(values)

    def aMap(self, keys: Sequence[str], values: Sequence[str]) -> str:
        name = self.known("map")
        if name and self.chance(0.5):
            self.use("table reference")
            return f"<{self.text(name)}>"
        return self.mapOf(keys, values)

    def either(self, values: Sequence[str]) -> str:
        if self.chance(0.3) and not self.isOlder:
            self.use("map where a list or map is taken")
            return self.aMap(values, ("x", "y"))
        return self.aList(values)

    def regexOr(self, table: Callable[[Sequence[str]], str], values: Sequence[str]) -> str:
        if self.chance(0.25):
            self.use("regex")
            return "regex " + self.aList(("^a.*b$", "[[:alpha:]]+", "x|y", r"example\.org$"))
        return table(values)

    def table(self) -> None:
        kind = self.random.choice(("list", "map", "file", "backend"))
        if kind == "list":
            body = self.listOf((*DOMAINS, *ADDRESSES, *NETWORKS))
            self.lines.append(f"table {self.text(self.fresh('list'))} {body}")
        elif kind == "map":
            body = self.mapOf(("ann", "ben", "ben@example.org"), ("x", "ann@example.org", "192.0.2.1"))
            self.lines.append(f"table {self.text(self.fresh('map'))} {body}")
        else:
            self.use(f"table {kind}")
            which = self.random.choice(("list", "map"))
            backend = self.random.choice(("", "file:", "static:"))
            more = " allow-commands" if self.ownWords and self.chance(0.3) else ""
            self.lines.append(f"table {self.text(self.fresh(which))} {self.text(f'{backend}@DIR@/{which}')}{more}")

    # --- directives

    def macro(self) -> None:
        self.use("macro")
        self.count += 1
        name = f"m{self.count}"
        if self.chance(0.5):
            self.lines.append(f"{name} = {self.text(self.random.choice(HOSTS))}")
            self.names.setdefault("macro", []).append(name)
        else:
            self.use("macro of several words")
            self.lines.append(f'{name} = "from any for domain"')
            self.lines.append(f"match ${name} {self.text('example.org')} reject")

    def comment(self) -> None:
        self.use("comment")
        self.lines.append(self.random.choice(("# a comment", '  # " unclosed {', "#\\\n still a comment", "", "\t")))

    def include(self) -> None:
        self.use("include")
        self.lines.append(f"include {self.text('@DIR@/included.conf')}")

    def admd(self) -> None:
        self.use("admd")
        self.lines.append(f"admd {self.text(self.random.choice(NAMES[:6]))}")

    def bounce(self) -> None:
        self.use("bounce")
        delays = sorted(self.random.sample(range(1, 60), self.random.randint(1, 4)))
        self.lines.append("bounce warn-interval " + ", ".join(f"{delay}h" for delay in delays))

    def ca(self) -> None:
        self.use("ca")
        name = self.pkiName("ca")
        self.lines.append(f"ca {self.text(name)} cert {self.text('@DIR@/cert.pem')}")

    def pkiName(self, kind: str) -> str:
        self.count += 1
        name = f"{self.random.choice(('mx', 'a-b', 'x_1'))}{self.count}.example.org"
        if kind not in self.names and self.chance(0.2):
            name = "*"
        self.names.setdefault(kind, []).append(name)
        return name

    def pki(self) -> None:
        self.use("pki")
        name = self.text(self.pkiName("pki"))
        parts = [f"cert {self.text('@DIR@/cert.pem')}", f"key {self.text('@DIR@/key.pem')}"]
        if self.chance(0.3):
            self.use("dhe")
            parts.append(f"dhe {self.random.choice(('none', 'auto', 'legacy', 'Auto'))}")
        self.random.shuffle(parts)
        if self.chance(0.3):
            self.use("pki in several lines")
            self.lines += [f"pki {name} {part}" for part in parts]
        else:
            self.lines.append(f"pki {name} {' '.join(parts)}")

    def srs(self) -> None:
        self.use("srs")
        self.lines.append(f"srs key {self.text('secret ' + self.random.choice(NAMES))}")
        self.hasSrsKey = True
        if self.chance(0.3):
            self.use("srs key backup")
            self.lines.append(f"srs key backup {self.text('older')}")
        if self.chance(0.3):
            self.use("srs ttl")
            self.lines.append(f"srs ttl {self.random.choice(('1d', '4d', '49h'))}")
        if self.ownWords and self.chance(0.4):
            self.use("srs domain")
            self.lines.append(f"srs domain {self.aList(('example.org', 'srs.example.org'))}")

    def limits(self, names: Sequence[str], families: bool = False) -> str:
        said = [
            f"{name} {self.random.randint(1, 500)}"
            for name in self.random.sample(list(names), self.random.randint(0, min(3, len(names))))
        ]
        if families and self.chance(0.4):
            self.use("mta limit family")
            said.append(self.random.choice(("inet4", "inet6")))
        return " ".join(said)

    def limit(self) -> None:
        kind = self.random.choice(("mta", "mta domain", "mda", "scheduler", "smtp", "max-deferred"))
        self.use(f"limit {kind}")
        match kind:
            case "mta":
                self.lines.append(f"mta limit {self.limits(_MTA, True)}")
            case "mta domain":
                domain = self.text(self.random.choice(DOMAINS))
                self.lines.append(f"mta limit for domain {domain} {self.limits(_MTA, True)}")
            case "mda":
                self.lines.append(f"mda limit {self.limits(_MDA)}")
            case "scheduler":
                self.lines.append(f"scheduler limit {self.limits(_SCHEDULER)}")
            case "smtp":
                self.lines.append(f"smtp limit {self.limits(_SMTP)}")
            case _:
                self.lines.append(f"mta max-deferred {self.random.randint(1, 500)}")

    def queue(self) -> None:
        kind = self.random.choice(("compression", "encryption", "encryption key", "ttl"))
        self.use(f"queue {kind}")
        match kind:
            case "encryption key":
                self.lines.append(f"queue encryption {self.text('0123456789abcdef' * 2)}")
            case "ttl":
                self.lines.append(f"queue ttl {self.random.choice(DELAYS)}")
            case _:
                self.lines.append(f"queue {kind}")

    def smtp(self) -> None:
        kind = self.random.choice(("ciphers", "size", "delimiter"))
        self.use(f"smtp {kind}")
        match kind:
            case "ciphers":
                self.lines.append(f"smtp ciphers {self.text('HIGH:!aNULL')}")
            case "size":
                self.lines.append(f"smtp max-message-size {self.random.choice(('1000', '35M', '1G', '2K', '64k'))}")
            case _:
                self.lines.append(f"smtp sub-addr-delim {self.text(self.random.choice('+-_=/'))}")

    def own(self) -> None:
        """What OpenSMTPD does not have."""
        if not self.ownWords:
            return
        kind = self.random.choice(
            (
                "resolver",
                "queue",
                "backup",
                "scheduler",
                "stat",
                "allow-local-mx",
                "bounce-signed-8bit",
                "limits",
                "rates",
            )
        )
        if kind in self.once:
            return
        self.once.add(kind)
        self.use(f"own {kind}")
        match kind:
            case "resolver":
                self.lines.append("resolver 192.0.2.53" + self.random.choice(("", " port 53", " port 5353")))
            case "allow-local-mx":
                self.lines.append("mta allow-local-mx")
            case "bounce-signed-8bit":
                self.lines.append("mta bounce-signed-8bit")
            case "backup":
                self.lines.append(f"queue encryption backup {self.text('fedcba9876543210' * 2)}")
            case "limits":
                self.lines += [
                    "queue limit min-free-space 7% file-threshold 64K",
                    "smtp limit command-timeout 2m max-sessions 9",
                    "mta limit gather 150ms conn-delay-host 1500ms",
                ]
            case "rates":
                self.rates()
            case _:
                backend = self.text(self.random.choice(("ram", "null", "fs:/var/x y")))
                self.lines.append(f"{kind} backend {backend}")

    def rates(self) -> None:
        patterns = self.random.choice(('{ "*.big.test", mx.small.test }', "mx.big.test"))
        self.lines.append(f"mta provider big {patterns}")
        self.lines.append("mta rate for provider big connections 3 at-once connections 5 per 1m")
        kinds = ("domain", "host", "src", "mail-from", "auth", "tag")
        for kind in self.random.sample(kinds, self.random.randint(0, 3)):
            name = self.text(self.random.choice(("*", "*.example.org", "news")))
            rate = self.random.choice(("messages 10 per 1m", "recipients 100 per 1h messages 5 per 90s", "unlimited"))
            self.lines.append(f"mta rate for {kind} {name} {rate}")
        if self.chance(0.5):
            self.lines.append("mta rate messages 100 per 1d")

    # --- processes and filters

    def processOptions(self) -> str:
        self.use("process options")
        options = (lambda: "user nobody", lambda: "group nogroup", lambda: 'chroot "/var/empty"')
        return " ".join(self.some(options, 3))

    def proc(self) -> None:
        self.use("proc")
        self.lines.append(f"proc {self.text(self.fresh('proc'))} {self.text('/bin/true -x')} {self.processOptions()}")

    def filter(self) -> None:
        kind = self.random.choice(("proc", "proc-exec", "phase", "phase", "phase", "chain"))
        if kind == "proc":
            proc = self.known("proc")
            if proc is None:
                return
            # Of two filters of one process no chain can be made.
            self.names["proc"].remove(proc)
            self.use("filter proc")
            self.lines.append(f"filter {self.text(self.fresh('filter'))} proc {self.text(proc)}")
        elif kind == "proc-exec":
            self.use("filter proc-exec")
            name = self.text(self.fresh("filter"))
            self.lines.append(f"filter {name} proc-exec {self.text('filter-x -v')} {self.processOptions()}")
        elif kind == "chain":
            if self.known("filter"):
                self.use("filter chain")
                members = self.members()
                self.lines.append(f"filter {self.text(self.fresh('chain'))} chain {members}")
        else:
            self.phase()

    def members(self) -> str:
        names = self.names["filter"]
        return self.braces(
            [self.text(name) for name in self.random.sample(names, self.random.randint(1, min(3, len(names))))]
        )

    def phase(self) -> None:
        phase = self.random.choice(list(_CONDITIONS))
        condition = self.random.choice(_CONDITIONS[phase])
        self.use(f"phase {phase}")
        self.use(f"condition {condition}")
        table = ""
        if condition == "src":
            table = self.regexOr(self.aList, NETWORKS)
        elif condition in ("helo", "mail-from", "rcpt-to") or (condition in ("rdns", "auth") and self.chance(0.5)):
            table = self.regexOr(self.either, ADDRESSES)
        decisions = ["reject", "disconnect", "rewrite", "report"]
        if phase != "commit":
            decisions += ["junk", "bypass"]
        decision = self.random.choice(decisions)
        self.use(f"decision {decision}")
        said = "" if decision in ("junk", "bypass") else self.text(self.random.choice(("550 no", "421 go", "x")))
        negation = self.random.choice(("", "", "! ", "!"))
        name = self.text(self.fresh("filter"))
        self.lines.append(f"filter {name} phase {phase} match {negation}{condition} {table} {decision} {said}")

    def useFilter(self) -> str:
        name = self.known("filter", "chain")
        if name is None:
            return ""
        if self.chance(0.4) and self.known("filter"):
            self.use("filter in braces")
            return f"filter {self.members()}"
        self.use("filter by name")
        return f"filter {self.text(name)}"

    # --- listeners

    def socket(self) -> None:
        if self.hasSocket:
            return
        self.hasSocket = True
        self.use("listen on socket")

        def noDsn() -> str:
            self.use("no-dsn on the socket")
            return "no-dsn"

        options = [self.useFilter, lambda: "mask-src", lambda: f"tag {self.text('T')}"]
        if not self.isOlder:
            options.append(noDsn)
        self.lines.append(f"listen on socket {' '.join(self.some(options))}")

    def listen(self) -> None:
        self.use("listen on")
        interface = self.random.choice(("lo", "127.0.0.1", '"::1"', "127.0.0.1", "lo inet4", "lo inet6"))
        self.ports += 1
        options: list[str] = [f"port {self.ports}"]
        pki = self.known("pki")
        if pki and self.chance(0.5):
            mode = self.random.choice(("tls", "tls-require", "tls-require verify", "smtps", "smtps verify"))
            self.use(f"listen {mode}")
            options += [mode, f"pki {self.text(pki)}"]
            if self.chance(0.2) and not self.isOlder:
                self.use("several pki")
                options.append(f"pki {self.text(pki)}")
            if self.chance(0.6):
                word = self.random.choice(("auth", "auth-optional"))
                if self.chance(0.5):
                    self.use(f"{word} with a table")
                    options.append(f"{word} {self.aMap(('ann', 'ben'), ('hash', 'other'))}")
                else:
                    self.use(f"{word} of the system")
                    options.append(word)
            if self.chance(0.3) and not self.isOlder:
                self.use("listen ciphers")
                options.append(f"ciphers {self.text('HIGH')}")
            if self.chance(0.3) and not self.isOlder:
                self.use("listen protocols")
                options.append(f"protocols {self.text('TLSv1.2,TLSv1.3')}")
            ca = self.known("ca")
            if ca and self.chance(0.5):
                self.use("listen ca")
                options.append(f"ca {self.text(ca)}")
        options += self.some(
            (
                self.useFilter,
                lambda: f"hostname {self.text(self.random.choice(HOSTS))}",
                lambda: f"hostnames {self.aMap(('192.0.2.1', '127.0.0.1'), HOSTS)}",
                lambda: "mask-src",
                lambda: "no-dsn",
                lambda: "received-auth",
                lambda: f"tag {self.text(self.random.choice(('T', 'in side', 'x' * 32)))}",
                lambda: f"senders {self.aMap(('ann',), ADDRESSES)}" + self.random.choice(("", " masquerade")),
                self.proxy,
            ),
            5,
        )
        if self.ownWords:
            options += self.some(
                (
                    lambda: f"xclient {self.aList(NETWORKS)} xclient-login",
                    lambda: "submission",
                    lambda: "bare-newline normalise",
                    lambda: "lmtp",
                    lambda: "auth-without-tls",
                )
            )
        self.random.shuffle(options)
        self.lines.append(f"listen on {interface} {' '.join(options)}")

    def proxy(self) -> str:
        self.use("proxy-v2")
        if self.ownWords:
            return self.random.choice(
                ("proxy-v2", f"proxy-v2 from {self.aList(NETWORKS)}", f"proxy from {self.aList(NETWORKS)}")
            )
        return "proxy-v2"

    def port(self) -> None:
        """Ports by name, and the defaults: each once, as two listeners share no port."""
        name = self.random.choice(("smtp", "smtps", "submission", "587", ""))
        if name in self.once:
            return
        self.once |= {name, "submission", "587"} if name in ("587", "submission") else {name, "smtp", ""}
        self.use("port by name")
        self.lines.append(f"listen on 127.0.0.1 {f'port {name}' if name else ''}")

    # --- actions

    def ttl(self) -> str:
        if self.chance(0.2):
            self.use("ttl")
            return f" ttl {self.random.choice(DELAYS)}"
        return ""

    def wrapper(self) -> None:
        self.use("mda wrapper")
        command = self.random.choice(("/bin/nice -n 5 %{mda}", "%{mda}", "/bin/x '%{dest}' %{mda} -y"))
        self.lines.append(f"mda wrapper {self.text(self.fresh('wrapper'))} {self.text(command)}")

    def local(self) -> None:
        method = self.random.choice(("mbox", "maildir", "lmtp", "mda", "forward-only", "expand-only"))
        self.use(f"action {method}")
        said = method
        match method:
            case "maildir":
                if self.chance(0.6):
                    path = self.random.choice(
                        ("~/Mail", "/srv/%{dest.user:lowercase|strip}", "Box", "%{user.directory}/x")
                    )
                    said += f" {self.text(path)}"
                if self.chance(0.3):
                    self.use("junk")
                    said += " junk"
            case "lmtp":
                said += (
                    f" {self.text(self.random.choice(('/run/lmtp', 'localhost:24', '[2001:db8::1]:24', 'a.example')))}"
                )
                if self.chance(0.4):
                    self.use("lmtp rcpt-to")
                    said += " rcpt-to"
            case "mda":
                if self.ownWords and self.chance(0.3):
                    self.use("mda shell")
                    said += f" shell {self.text('cat > /dev/null; echo $SENDER')}"
                else:
                    command = self.random.choice(
                        ("/bin/cat -n", "procmail -f -", "/x/y '%{dest}' a\\ b '~'", "x %{sender:raw}z")
                    )
                    said += f" {self.text(command)}"

        def options() -> list[str]:
            wrapper = self.known("wrapper")
            chosen = [
                lambda: f"userbase {self.aMap(('ann', 'ben'), ('1000:1000:/home/ann',))}",
                lambda: self.random.choice(("alias", "virtual")) + f" {self.aMap(('ann', 'ben', '@'), ADDRESSES)}",
            ]
            if wrapper is not None:
                chosen.append(lambda: f"wrapper {self.text(wrapper)}")
            if method not in ("mbox", "forward-only", "expand-only"):
                chosen.append(lambda: "user nobody")
            return self.some(chosen)

        name = self.text(self.fresh("action"))
        self.lines.append(f"action {name} {said} {' '.join(options())}{self.ttl()}")

    def relay(self) -> None:
        self.use("action relay")
        options: list[Callable[[], str]] = [
            lambda: f"helo {self.text(self.random.choice(HOSTS))}",
            lambda: f"helo-src {self.aMap(('192.0.2.1',), HOSTS)}",
            lambda: f"src {self.sourceTable()}",
            lambda: f"mail-from {self.text(self.random.choice(('ann@example.org', '@example.org', 'ann@')))}",
            lambda: "tls" + self.random.choice(("", " no-verify")),
            self.useFilter,
        ]
        if not self.isOlder:
            options += [self.relayCiphers, self.relayProtocols]
        for word in ("pki", "ca"):
            if name := self.known(word):
                options.append(lambda word=word, name=name: f"{word} {self.text(name)}")  # type: ignore[misc]
        if self.hasSrsKey:
            options.append(self.useSrs)
        said = self.some(options, 5)
        hosts = self.random.choice(("", "", "host", "host auth", "domain", "domain auth", "backup", "backup mx"))
        if "tls" in " ".join(said).split():
            hosts = hosts.replace("host auth", "").replace("host", "")
        if hosts:
            self.use(f"relay {hosts}")
        if hosts.startswith("host"):
            said.append(f"host {self.inlineHosts()}")
        elif hosts.startswith("domain"):
            said.append(f"domain {self.aMap(DOMAINS, URLS)}")
        elif hosts == "backup":
            said.append("backup")
        elif hosts:
            said.append(f"backup mx {self.text('mx2.example.org')}")
        if hosts.endswith("auth"):
            said.append(f"auth {self.aMap(('ann', 'ben'), ('user:password',))}")
        self.lines.append(f"action {self.text(self.fresh('action'))} relay {' '.join(said)}{self.ttl()}")

    def useSrs(self) -> str:
        self.use("relay srs")
        return "srs"

    def relayCiphers(self) -> str:
        self.use("relay ciphers")
        return f"ciphers {self.text('HIGH')}"

    def relayProtocols(self) -> str:
        self.use("relay protocols")
        return f"protocols {self.text('TLSv1.3')}"

    def inlineHosts(self) -> str:
        return self.text(self.random.choice(URLS)) if self.chance(0.5) else self.listOf(URLS)

    def sourceTable(self) -> str:
        if self.chance(0.3) and not self.isOlder:
            self.use("src of a map")
            return self.mapOf(("192.0.2.1", "192.0.2.2"), ("x",))
        return self.listOf(("192.0.2.1", "2001:db8::1"))

    # --- rules

    def match(self) -> None:
        groups: list[Callable[[], str]] = [self.origin, self.target, *self.predicates()]
        said = [
            self.random.choice(("", "", "", "! ", "!")) + predicate()
            for predicate in self.random.sample(groups, self.random.randint(0, len(groups)))
        ]
        # "from auth" is "auth", too, and so are the others of two names: one of each is enough.
        words = " ".join(said)
        for double, single in (("from auth", "auth"), ("from mail-from", "mail-from"), ("for rcpt-to", "rcpt-to")):
            if double in words:
                said = [part for part in said if not re.match(rf"!? ?{single}\b", part)]
        action = self.known("action")
        if action and self.chance(0.8):
            self.use("match action")
            said.append(f"action {self.text(action)}")
        else:
            self.use("match reject")
            said.append("reject")
        self.lines.append(f"match {' '.join(said)}")

    def origin(self) -> str:
        word = self.random.choice(("any", "local", "socket", "src", "rdns", "rdns T", "auth", "auth T", "mail-from"))
        self.use(f"from {word}")
        match word:
            case "src":
                return f"from src {self.regexOr(self.aList, NETWORKS)}"
            case "rdns T":
                return f"from rdns {self.regexOr(self.aList, DOMAINS)}"
            case "auth T":
                return f"from auth {self.regexOr(self.aList, ('ann', 'ben'))}"
            case "mail-from":
                return f"from mail-from {self.regexOr(self.either, ADDRESSES)}"
        return f"from {word}"

    def target(self) -> str:
        word = self.random.choice(("any", "local", "domain", "rcpt-to"))
        self.use(f"for {word}")
        match word:
            case "domain":
                macro = self.known("macro")
                if macro and self.chance(0.5):
                    self.use("use of a macro")
                    return f"for domain ${macro}"
                return f"for domain {self.regexOr(self.aList, DOMAINS)}"
            case "rcpt-to":
                return f"for rcpt-to {self.regexOr(self.either, ADDRESSES)}"
        return f"for {word}"

    def predicates(self) -> list[Callable[[], str]]:
        def said(word: str, table: Callable[[], str] | None = None) -> Callable[[], str]:
            def predicate() -> str:
                self.use(f"match {word}")
                return word if table is None else f"{word} {table()}"

            return predicate

        return [
            said("tag", lambda: self.regexOr(self.aList, ("T", "in"))),
            said("helo", lambda: self.regexOr(self.aList, DOMAINS)),
            said("tls"),
            self.random.choice((said("auth"), said("auth", lambda: self.regexOr(self.either, ("ann", "ben"))))),
            said("mail-from", lambda: self.regexOr(self.either, ADDRESSES)),
            said("rcpt-to", lambda: self.regexOr(self.either, ADDRESSES)),
        ]

    # --- a whole one

    def configuration(self, size: int = 8) -> str:
        """Some directives in an order that can be read."""
        first = [self.table, self.macro, self.comment, self.admd, self.bounce, self.ca, self.pki, self.srs, self.limit]
        first += [self.include, self.queue, self.smtp, self.own, self.proc, self.wrapper, self.table, self.pki]
        second = [self.filter, self.filter, self.listen, self.listen, self.socket, self.port, self.local, self.relay]
        second += [self.local, self.relay, self.limit, self.comment]
        for _ in range(self.random.randint(0, size)):
            self.random.choice(first)()
        for _ in range(self.random.randint(0, size)):
            self.random.choice(second)()
        for _ in range(self.random.randint(0, 3)):
            self.match()
        if not any(line.startswith("match") for line in self.lines):
            self.match()
        return "".join(f"{self.laid(line)}\n" for line in self.lines)

    def laid(self, line: str) -> str:
        """The line with other blanks, continued here and there, and a comment behind it."""
        if "\n" in line or '"' in line or "'" in line or "#" in line:
            return line
        if self.chance(0.1):
            self.use("continuation")
            line = line.replace(" ", " \\\n\t", 1)
        if self.chance(0.1):
            self.use("tab")
            line = line.replace(" ", "\t")
        if self.chance(0.05):
            line += self.random.choice((" # end", "\t#", "  "))
        return line


def mutated(random: Random, text: str) -> str:
    """A text with one to three small accidents, most of them on the level of words."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        tokens = [(found.start(), found.end()) for found in _TOKEN.finditer(text)]
        if len(tokens) < 3:
            return text
        start, end = random.choice(tokens)
        token = text[start:end]
        kind = random.randrange(12)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = f"{text[:end]} {token}{text[end:]}"
        elif kind == 2:
            text = f"{text[:start]}{random.choice(_INSERTED)} {text[start:]}"
        elif kind == 3:
            text = text[:start] + random.choice(_INSERTED) + text[end:]
        elif kind == 4:
            otherStart, otherEnd = random.choice(tokens)
            if otherStart > end:
                text = text[:start] + text[otherStart:otherEnd] + text[end:otherStart] + token + text[otherEnd:]
        elif kind == 5:
            text = text[:start] + token.strip("\"'") + text[end:]
        elif kind == 6:
            text = f'{text[:start]}"{token}"{text[end:]}'
        elif kind == 7:
            at = random.randrange(start, end)
            text = text[:at] + random.choice("\"'{}<>=,!#\\ \n$-x0") + text[at:]
        elif kind == 8:
            at = random.randrange(start, end)
            text = text[:at] + text[at + 1 :]
        elif kind == 9:
            text = f"{text[:start]}\n{text[start:]}"
        elif kind == 10:
            lines = text.split("\n")
            lines.insert(random.randrange(len(lines)), lines.pop(random.randrange(len(lines))))
            text = "\n".join(lines)
        else:
            text = f"{text[:start]}{random.choice(tokensOf(text))} {text[start:]}"
    return text


def tokensOf(text: str) -> list[str]:
    return [found.group() for found in _TOKEN.finditer(text)]


_INSERTED = (
    *sorted(RESERVED),
    "{",
    "}",
    "<",
    ">",
    ",",
    "!",
    "=",
    "=>",
    "(",
    ")",
    "1",
    "0",
    "-1",
    "65536",
    "4d",
    "x",
    '""',
)
