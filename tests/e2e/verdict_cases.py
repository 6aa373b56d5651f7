"""What destinations publish and their hosts show, and what has to become of mail for them. Read by tests/e2e/verdicts.py."""

from __future__ import annotations

from dataclasses import dataclass

SIGNED, PLAIN = "signed.test", "plain.test"
CLEAR, TLS, DEFER = "in clear", "under TLS", "deferred"
RESUMED = f"{TLS}, resumed"

_OTHER = bytes(32).hex()
WRONG = f"3 1 1 {_OTHER}"


@dataclass(frozen=True)
class Policy:
    """Of MTA-STS.

    @ivar hosts: its patterns; C{@} stands for the domain.
    @ivar ids: of TXT records.
    @ivar text: in place of all that.
    @ivar certificateFor: of the web server; empty: its own name.
    """

    mode: str = "enforce"
    hosts: tuple[str, ...] = ("mx.@",)
    maxAge: int = 86400
    ids: tuple[str, ...] = ("1",)
    text: str = ""
    type: str = "text/plain"
    location: str = ""
    certificateFor: str = ""
    days: int = 100
    isStranger: bool = False
    isUnreachable: bool = False


@dataclass(frozen=True)
class Publishes:
    """
    @ivar tlsa: records of the host C{mx.} before the domain: C{EE} and C{TA} stand for the right ones.
    @ivar mx: lines of the zone in place of the usual MX record and host; C{@} stands for the domain's first label.
    @ivar isTampered: the TLSA records were changed after signing.
    @ivar isMute: the server that is in charge of TLSA records does not answer.
    """

    tlsa: tuple[str, ...] = ()
    policy: Policy | None = None
    mx: tuple[str, ...] = ()
    isTampered: bool = False
    isMute: bool = False


@dataclass(frozen=True)
class Shows:
    """
    @ivar name: that the certificate is for; empty: the host's own.
    @ivar days: until it ends.
    @ivar isStranger: of an authority that nobody trusts.
    """

    tls: bool = True
    name: str = ""
    days: int = 100
    isStranger: bool = False


VALID, NO_TLS = Shows(), Shows(tls=False)
EXPIRED, STRANGER, OTHER_NAME = Shows(days=-1), Shows(isStranger=True), Shows(name="other.test")


@dataclass(frozen=True)
class Case:
    """One domain, whose host is C{mx.} before it.

    @ivar published: and C{shown}, C{rfc}: for people.
    @ivar because: has to be in the reason: of the reply, or of there being no policy.
    """

    name: str
    published: str
    shown: str
    rfc: str
    expected: str
    because: str
    publishes: Publishes = Publishes()
    shows: Shows = VALID
    zone: str = SIGNED


def _dane(
    name: str, published: str, shown: str, section: str, expected: str, because: str, *tlsa: str, shows: Shows = VALID
) -> Case:
    return Case(name, published, shown, f"7672 {section}", expected, because, Publishes(tlsa), shows)


def _aliased(name: str, published: str, shown: str, section: str, expected: str, because: str, *mx: str) -> Case:
    return Case(name, published, shown, f"7672 {section}", expected, because, Publishes(mx=mx))


def _sts(
    name: str,
    published: str,
    shown: str,
    section: str,
    expected: str,
    because: str,
    policy: Policy | None,
    shows: Shows = VALID,
) -> Case:
    return Case(name, published, shown, f"8461 {section}", expected, because, Publishes(policy=policy), shows, PLAIN)


def _web(name: str, published: str, section: str, because: str, policy: Policy) -> Case:
    """There is no policy to be had."""
    return _sts(name, published, "no TLS", section, CLEAR, because, policy, NO_TLS)


MATCHES_NONE, NO_STARTTLS = (
    "4.7.5 TLS: the host's certificate matches none",
    "4.7.4 TLS is required and the host does not",
)
MUTE = Publishes(isMute=True)
ELSEWHERE = "https://mta-sts.enforce.plain.test/.well-known/mta-sts.txt"
ENDLESS = "version: STSv1\nmode: enforce\nmx: *.test\nmax_age: 86400\n" + "x: y\n" * 20_000

CASES = (
    _dane("good", "TLSA 3 of the host's key", "a valid certificate", "3.1.1", TLS, "", "EE"),
    _dane("several", "the same among others", "the same", "3.1.1", TLS, "", WRONG, f"1 1 1 {_OTHER}", "EE"),
    _dane("wrong", "TLSA 3 of another key", "the same", "2.2", DEFER, MATCHES_NONE, WRONG),
    _dane(
        "better", "TLSA 3 of the host's key by SHA-256, of another by SHA-512", "the same", "5", DEFER, MATCHES_NONE,
        "EE", f"3 1 2 {_OTHER * 2}",
    ),
    _dane("no-tls", "TLSA 3 of a key", "no TLS", "2.2", DEFER, NO_STARTTLS, "EE", shows=NO_TLS),
    _dane("expired-ee", "TLSA 3 of the host's key", "an expired certificate", "3.1.1", TLS, "", "EE", shows=EXPIRED),
    _dane("name-ee", "TLSA 3 of the host's key", "one for another name", "3.1.1", TLS, "", "EE", shows=OTHER_NAME),
    _dane("anchor", "TLSA 2 of an authority", "its certificate, for the host", "3.1.2", TLS, "", "TA"),
    _dane(
        "next-hop", "the same", "its certificate, for the domain", "3.2.2", TLS, "", "TA",
        shows=Shows(name="next-hop.signed.test"),
    ),
    _dane("expired-ta", "the same", "its certificate, expired", "3.1.2", DEFER, MATCHES_NONE, "TA", shows=EXPIRED),
    _dane("name-ta", "the same", "its certificate, for another name", "3.2.2", DEFER, MATCHES_NONE, "TA", shows=OTHER_NAME),
    _dane("usage-1", "TLSA 1", "an expired certificate", "3.1.3", TLS, "", f"1 1 1 {_OTHER}", shows=EXPIRED),
    _dane("usage-1-clear", "TLSA 1", "no TLS", "3.1.3", DEFER, NO_STARTTLS, f"1 1 1 {_OTHER}", shows=NO_TLS),
    Case(
        "bogus", "TLSA that DNSSEC disproves", "it is not asked", "7672 2.2", DEFER, "server failure",
        Publishes(("EE",), isTampered=True),
    ),
    _aliased(
        "one-bogus", "that for the first MX; TLSA 3 of its key for the second", "a valid certificate", "2.2", TLS, "",
        "@ MX 10 mx.bogus", "@ MX 20 mx.good",
    ),
    _aliased(
        "one-wrong", "TLSA 3 of another key for the first MX; of its key for the second", "the same", "2.2", TLS, "",
        "@ MX 10 mx.wrong", "@ MX 20 mx.good",
    ),
    _dane("none", "no TLSA in a signed zone", "no TLS", "2.2", CLEAR, "", shows=NO_TLS),
    _dane("none-tls", "the same", "an expired certificate", "2.2", TLS, "", shows=EXPIRED),
    _aliased(
        "alias", "MX that is a CNAME to a host with TLSA 3 of its key", "a valid certificate", "2.2.2", TLS, "",
        "@ MX 10 host.@", "host.@ CNAME mx.good",
    ),
    _aliased(
        "alias-wrong", "a CNAME to one with TLSA 3 of another key", "the same", "2.2.2", DEFER, MATCHES_NONE,
        "@ MX 10 host.@", "host.@ CNAME mx.wrong",
    ),
    _aliased(
        "alias-own", "a CNAME with TLSA 3 of another key, to a host without", "the same", "2.2.2", DEFER, MATCHES_NONE,
        "@ MX 10 host.@", "host.@ CNAME mx.none-tls", f"_25._tcp.host.@ TLSA {WRONG}",
    ),
    _aliased(
        "elsewhere", "a host in an unsigned zone whose server fails for TLSA", "the same", "2.1.3", TLS, "",
        "@ MX 10 mx.mute.plain.test.",
    ),
    Case("mute", "all of it in such a zone", "the same", "7672 2.1.3", TLS, "", MUTE, zone=PLAIN),
    Case("mute-clear", "the same", "no TLS", "7672 2.1.3", CLEAR, "", MUTE, NO_TLS, PLAIN),
    _sts("nothing", "nothing", "no TLS", "2", CLEAR, "", None, NO_TLS),
    _sts("nothing-tls", "nothing", "a stranger's certificate", "2", TLS, "", None, STRANGER),
    _sts("enforce", "MTA-STS enforce", "a valid certificate", "4.2", TLS, "", Policy()),
    _sts("enforce-any", "enforce, with `*.` for the first label of the host", "the same", "4.1", TLS, "", Policy(hosts=("*.@",))),
    _sts("enforce-clear", "enforce", "no TLS", "4.2", DEFER, NO_STARTTLS, Policy(), NO_TLS),
    _sts("enforce-expired", "enforce", "an expired certificate", "4.2", DEFER, "has expired", Policy(), EXPIRED),
    _sts("enforce-stranger", "enforce", "a stranger's certificate", "4.2", DEFER, "self-signed", Policy(), STRANGER),
    _sts("enforce-name", "enforce", "one for another name", "4.2", DEFER, "is not for mx.", Policy(), OTHER_NAME),
    _sts(
        "enforce-others", "enforce, for other hosts", "a valid certificate", "4.1", DEFER, "does not name mx.",
        Policy(hosts=("mx.other.test",)),
    ),
    Case(
        "enforce-second", "enforce, for the second of two MX", "the same", "8461 4.1", TLS, "",
        Publishes(
            policy=Policy(hosts=("mx.enforce.plain.test",)), mx=("@ MX 10 mx.nothing-tls", "@ MX 20 mx.enforce")
        ),
        zone=PLAIN,
    ),
    Case(
        "enforce-shared", "enforce, for a host of a domain that publishes nothing, too", "a stranger's certificate",
        "8461 4.2", DEFER, "self-signed",
        Publishes(policy=Policy(hosts=("mx.nothing-tls.plain.test",)), mx=("@ MX 10 mx.nothing-tls",)), zone=PLAIN,
    ),
    Case(
        "nothing-shared", "nothing, the host is one of a domain with enforce, too", "one for another name",
        "8461 4.2", TLS, "", Publishes(mx=("@ MX 10 mx.enforce-name",)), zone=PLAIN,
    ),
    _sts("testing", "testing, for other hosts", "no TLS", "5", CLEAR, "", Policy("testing", ("mx.other.test",)), NO_TLS),
    _sts("mode-none", "none", "no TLS", "5", CLEAR, "", Policy("none"), NO_TLS),
    _web("unreachable", "enforce, the web server cannot be reached", "3.3", "refused", Policy(isUnreachable=True)),
    _web(
        "web-name", "enforce, the web server's certificate is for another name", "3.3", "is not for mta-sts.web-name",
        Policy(certificateFor="other.test"),
    ),
    _web("web-expired", "enforce, that certificate has expired", "3.3", "has expired", Policy(days=-1)),
    _web("web-stranger", "enforce, that certificate is a stranger's", "3.3", "self-signed", Policy(isStranger=True)),
    _web("web-elsewhere", "enforce, by a redirect", "3.3", "the answer is 301", Policy(location=ELSEWHERE)),
    _web("web-type", "enforce, as text/html", "3.2", "not text/plain but text/html", Policy(type="text/html")),
    _web("web-long", "enforce, in more than 64 KiB", "3.2", "more than 65536 octets", Policy(text=ENDLESS)),
    _web("web-nonsense", "a policy without a version", "3.2", "its version is not STSv1", Policy(text="mode: enforce\n")),
    _web("two-records", "enforce, and two TXT records", "3.1", "", Policy(ids=("1", "2"))),
    Case(
        "both", "TLSA 3 of the host's key; enforce for other hosts", "one for another name", "8461 2", TLS, "",
        Publishes(("EE",), Policy(hosts=("mx.other.test",))), OTHER_NAME,
    ),
    Case(
        "both-wrong", "TLSA 3 of another key; enforce for this host", "a valid certificate", "8461 2", DEFER,
        MATCHES_NONE, Publishes((WRONG,), Policy()),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One message more, after something has changed.

    @ivar isPatient: what is remembered of the hosts' TLS stays.
    """

    what: str
    rfc: str
    expected: str
    publishes: Publishes = Publishes()
    shows: Shows = VALID
    because: str = ""
    isPatient: bool = False


@dataclass(frozen=True)
class Story:
    """What one domain goes through."""

    name: str
    what: str
    steps: tuple[Step, ...]
    zone: str = PLAIN

    @property
    def domain(self) -> str:
        return f"{self.name}.{self.zone}"


NOTHING, ENFORCE = Publishes(), Publishes(policy=Policy())
HIDDEN = Publishes(policy=Policy(isUnreachable=True))
BRIEF, BRIEF_HIDDEN = Policy(maxAge=1), Policy(maxAge=1, isUnreachable=True)
OTHERS, MENDED = Publishes(policy=Policy(hosts=("mx.other.test",))), Publishes(policy=Policy(ids=("2",)))
EE, MOVED = Publishes(("EE",)), Publishes((WRONG,))

STORIES = (
    Story("up-bad", "a stranger's certificate", (
        Step("nothing is published", "8461 2", TLS, NOTHING, STRANGER),
        Step("the same", "8461 2", RESUMED, NOTHING, STRANGER),
        Step("enforce", "8461 4.2", DEFER, ENFORCE, STRANGER, "self-signed"),
    )),
    Story("up-good", "a valid certificate", (
        Step("nothing is published", "8461 2", TLS),
        Step("enforce", "8461 4.2", TLS, ENFORCE),
        Step("the same", "8461 4.2", RESUMED, ENFORCE),
        Step("a stranger's certificate", "8461 4.2", DEFER, ENFORCE, STRANGER, "self-signed"),
    )),
    Story("dane", "a valid certificate", (
        Step("no TLSA", "7672 2.2", TLS),
        Step("TLSA 3 of its key", "7672 3.1.1", TLS, EE),
        Step("the same", "7672 3.1.1", RESUMED, EE),
        Step("TLSA 3 of another key", "7672 2.2", DEFER, MOVED, VALID, MATCHES_NONE),
        Step("TLSA 3 of its key again", "7672 3.1.1", TLS, EE),
    ), SIGNED),
    Story("hidden", "no TLS", (
        Step("enforce", "8461 4.2", DEFER, ENFORCE, NO_TLS, NO_STARTTLS),
        Step("enforce, its web server cannot be reached any more", "8461 3.3", DEFER, HIDDEN, NO_TLS, NO_STARTTLS),
        Step("its TXT record is gone, too", "8461 3.3", DEFER, NOTHING, NO_TLS, NO_STARTTLS),
    )),
    Story("brief", "no TLS", (
        Step("enforce for one second", "8461 4.2", DEFER, Publishes(policy=BRIEF), NO_TLS, NO_STARTTLS),
        Step("its web server cannot be reached any more", "8461 3.2", CLEAR, Publishes(policy=BRIEF_HIDDEN), NO_TLS, "refused"),
    )),
    Story("mended", "a valid certificate", (
        Step("enforce for other hosts", "8461 4.1", DEFER, OTHERS, VALID, "does not name mx."),
        Step("enforce for this one, with a new id", "8461 5.1", TLS, MENDED),
    )),
    Story("memory", "nothing is published", (
        Step("a valid certificate", "", TLS),
        Step("no TLS", "", DEFER, NOTHING, NO_TLS, NO_STARTTLS, isPatient=True),
        Step("no TLS, after `forget-tls`", "", CLEAR, NOTHING, NO_TLS),
    )),
)  # fmt: skip
