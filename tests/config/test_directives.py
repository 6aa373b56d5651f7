"""What each directive means, and what is refused."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config.limits import limitNames
from pysmtpd.config.values import parseDelay, parseRelay, parseSize
from pysmtpd.model.address import Path
from pysmtpd.model.config import (
    AuthMode,
    BackendSpec,
    BareNewline,
    MdaLimits,
    Method,
    MtaLimits,
    QueueLimits,
    RelayHost,
    ResolverSpec,
    SchedulerLimits,
    SmtpLimits,
    TableRef,
    TlsMode,
)
from tests.config.support import problems, read

REJECT = "match reject\n"
PKI = 'pki mx.example.org cert "/etc/ssl/mx.pem" key "/etc/ssl/mx.key"\n'
USERS = "table users { ann = secret }\n"


def message(text: str) -> str:
    """The one problem of a text, without its place."""
    found = problems(text + REJECT)
    if len(found) != 1:
        raise AssertionError(f"{text!r}: {found}")
    return found[0].split(" ", 1)[1]


class ListenTests(SynchronousTestCase):
    def test_whatItMayBe(self) -> None:
        for name, addresses in (
            ("lo", ("127.0.0.1", "::1")),
            ("lo inet4", ("127.0.0.1",)),
            ("lo inet6", ("::1",)),
            ("198.51.100.7", ("198.51.100.7",)),
            ("2001:db8::7", ("2001:db8::7",)),
            ("0.0.0.0", ("0.0.0.0",)),
            ("host.example.org", ("192.0.2.80", "2001:db8::80")),
        ):
            listener = read(f"listen on {name}\n{REJECT}").listeners[0]
            self.assertEqual(listener.addresses, addresses)
            self.assertEqual((listener.port, listener.tls, listener.auth), (25, TlsMode.NONE, AuthMode.NONE))

    def test_options(self) -> None:
        listener = read(
            f"{PKI}{USERS}listen on lo port submission tls-require verify pki mx.example.org auth-optional <users> tag Sub "
            f"hostname smtp.example.org bare-newline normalise\n{REJECT}"
        ).listeners[0]
        self.assertEqual(listener.port, 587)
        self.assertEqual((listener.tls, listener.verifyClient), (TlsMode.REQUIRED, True))
        self.assertEqual((listener.auth, listener.authTable), (AuthMode.OPTIONAL, TableRef("users")))
        self.assertEqual((listener.tag, listener.hostname), ("Sub", "smtp.example.org"))
        self.assertIs(listener.bareNewline, BareNewline.NORMALISE)
        self.assertEqual(listener.pki, ("mx.example.org",))

    def test_smtpsHasItsPort(self) -> None:
        self.assertEqual(read(f"{PKI}listen on lo smtps pki mx.example.org\n{REJECT}").listeners[0].port, 465)

    def test_lmtp(self) -> None:
        self.assertTrue(read(f"listen on lo port 24 lmtp\n{REJECT}").listeners[0].lmtp)
        self.assertIn("port 25", message("listen on lo lmtp\n"))

    def test_whatDoesNotFit(self) -> None:
        for options, said in (
            ("tls", "needs a certificate"),
            ("pki mx.example.org", '"pki" without'),
            ("smtps tls pki mx.example.org", "cannot be combined"),
            ("tls pki mx.example.org pki mx.example.com", 'did you mean "mx.example.org"'),
            ("auth <users>", "in the clear"),
            ("auth-optional <users>", "in the clear"),
            ("tls pki mx.example.org auth users", "a map"),
            ("tag a tag b", "given twice"),
            ("port 0", "not a port"),
            ("port nosuch", "not a port"),
            ("inet6 inet4", "cannot be combined"),
            ("port 70000", "not a port"),
            ("bare-newline accept", 'takes "reject" or "normalise"'),
            (f"tag {'x' * 33}", "1 to 32"),
        ):
            self.assertIn(said, message(f"{PKI}{USERS}listen on lo {options}\n"), options)

    def test_authWithoutTlsMustBeWanted(self) -> None:
        listener = read(f"{USERS}listen on lo auth-without-tls auth <users>\n{REJECT}").listeners[0]
        self.assertTrue(listener.authWithoutTls)

    def test_twice(self) -> None:
        self.assertIn("already listened on, at smtpd.conf:1", message("listen on lo\nlisten on 127.0.0.1\n"))
        read(f"listen on lo\nlisten on 127.0.0.1 port 26\n{REJECT}")


class ActionTests(SynchronousTestCase):
    def test_maildir(self) -> None:
        for written, path in (
            ("", ""),
            ('"/srv/%{dest.user}"', "/srv/%{dest.user}"),
            ('"~/Mail"', "~/Mail"),
            ("Mail", "~/Mail"),
            ('"%{dest.domain}"', "~/%{dest.domain}"),
            ('"%{user.directory}/%{rcpt.user:strip}"', "~/%{rcpt.user:strip}"),
        ):
            action = read(f"action a maildir {written} user vmail ttl 2h\n{REJECT}").actions["a"]
            self.assertEqual(
                (action.method, action.path, action.user, action.ttl), (Method.MAILDIR, path, "vmail", 7200.0)
            )

    def test_tables(self) -> None:
        config = read(
            f"table t {{ a = b }}\naction a maildir alias <t>\naction b maildir virtual {{ @ = c }}\n{REJECT}".replace(
                "@", '"@"'
            )
        )
        self.assertEqual(config.actions["a"].alias, TableRef("t"))
        virtual = config.actions["b"].virtual
        assert virtual
        self.assertEqual(config.tables[virtual.name].entries, (("@", "c"),))

    def test_lmtp(self) -> None:
        for written, host in (
            ('"/run/lmtp"', RelayHost("lmtp", "/run/lmtp", 0)),
            ("host.example", RelayHost("lmtp", "host.example", 25)),
            ("host.example:24", RelayHost("lmtp", "host.example", 24)),
            ('"[2001:db8::1]:24"', RelayHost("lmtp", "2001:db8::1", 24)),
        ):
            action = read(f"action a lmtp {written} rcpt-to\n{REJECT}").actions["a"]
            self.assertEqual((action.method, action.hosts, action.lmtpRcptTo), (Method.LMTP, (host,), True))

    def test_relay(self) -> None:
        action = read(
            f"{USERS}action a relay host {{ smtps://me@a.example, lmtp://b.example:24 }} auth <users> src {{ 192.0.2.25 }} "
            f'helo out.example.org mail-from "@example.org" ttl 1d\n{REJECT}'
        ).actions["a"]
        self.assertIs(action.method, Method.RELAY)
        self.assertEqual(action.hosts, (RelayHost("smtps", "a.example", 465, "me"), RelayHost("lmtp", "b.example", 24)))
        self.assertEqual((action.helo, action.mailFrom), ("out.example.org", Path("", "example.org")))
        self.assertEqual((action.authTable, action.ttl), (TableRef("users"), 86400.0))

    def test_relayTls(self) -> None:
        for written, expected in (("", (False, True)), ("tls", (True, True)), ("tls no-verify", (True, False))):
            action = read(f"action a relay {written}\n{REJECT}").actions["a"]
            self.assertEqual((action.tlsRequired, action.tlsVerify), expected)

    def test_relayUrls(self) -> None:
        for url, host in (
            ("a.example", RelayHost("smtp", "a.example", 25)),
            ("192.0.2.1:26", RelayHost("smtp", "192.0.2.1", 26)),
            ("[IPv6:2001:db8::1]:26", RelayHost("smtp", "2001:db8::1", 26)),
            ("smtp+tls://ann@a.example", RelayHost("smtp+tls", "a.example", 25, "ann")),
            ("smtp+notls://a.example:smtp", RelayHost("smtp+notls", "a.example", 25)),
            ("lmtp:///run/x", RelayHost("lmtp", "/run/x", 0)),
            ("SMTPS://ann@a.example/", RelayHost("smtps", "a.example", 465, "ann")),
        ):
            self.assertEqual(parseRelay(url), host)
        for url in (
            "",
            "x://a",
            "smtp://",
            "smtp://ann@a.example",
            "smtps://@a",
            "lmtp://a",
            "a b",
            "[::1",
            "a:b",
            "a:99999",
            "a:",
            "[::1]:",
            "[x]",
        ):
            self.assertRaises(ValueError, parseRelay, url)

    def test_whatDoesNotFit(self) -> None:
        for written, said in (
            ("maildir alias { a = b } virtual { a = b }", "cannot be combined"),
            ("maildir alias { a }", "a map"),
            ("maildir user root", "never delivered as root"),
            ("maildir alias <x>", "no table"),
            ("relay host smtps://me@a.example", '"auth" <table>'),
            ("relay tls host smtp+notls://a.example", "cannot be had"),
            ("relay helo a helo b", "given twice"),
            ("relay ttl 4", "4h"),
            ("relay ttl 4y", "is not a time"),
            ("relay ttl 0s", "longer than zero"),
            ('relay mail-from "x"', "is not an address"),
        ):
            self.assertIn(said, message(f"action a {written}\n"), written)

    def test_twice(self) -> None:
        self.assertIn("already declared at smtpd.conf:1", message("action a maildir\naction a relay\n"))

    def test_ttlComesLast(self) -> None:
        self.assertIn("the directive is complete", message("action a maildir ttl 4d user ann\n"))


class MatchTests(SynchronousTestCase):
    def rule(self, text: str) -> str:
        return read(f"table t {{ x }}\naction a relay\nmatch {text}").rules[0].text

    def test_textSaysEverything(self) -> None:
        for written, text in (
            ("reject", "match from local for local reject"),
            ("action a", 'match from local for local action "a"'),
            ("for any tag X from src <t> action a", 'match tag { "X" } from src <t> for any action "a"'),
            ("! from auth <t> for rcpt-to <t> reject", "match from any for any ! auth <t> rcpt-to <t> reject"),
            (
                "from mail-from <t> tls ! helo <t> reject",
                "match from any for local ! helo <t> tls mail-from <t> reject",
            ),
        ):
            self.assertEqual(self.rule(written), text)

    @settings(deadline=None)
    @given(
        st.permutations(["tag <t>", "auth", "tls", "helo <t>", "mail-from <t>", "rcpt-to <t>"]),
        st.sampled_from(["from any", "from local", "from socket", "from src <t>", "from rdns", "from rdns <t>"]),
        st.sampled_from(["for any", "for local", "for domain <t>"]),
        st.lists(st.booleans(), min_size=8, max_size=8),
        st.integers(0, 6),
    )
    def test_textIsTheRule(self, others: list[str], origin: str, target: str, negated: list[bool], count: int) -> None:
        """What is shown of a rule is a rule of the same meaning."""
        words = [origin, target, *others[:count]]
        rule = " ".join(f"! {word}" if no else word for word, no in zip(words, negated, strict=False)) + " action a"
        self.assertEqual(self.rule(self.rule(rule).removeprefix("match ")), self.rule(rule))

    def test_whatDoesNotFit(self) -> None:
        for written, said in (
            ("from any from local reject", '"from" is given twice'),
            ("from auth auth reject", '"auth" is given twice'),
            ("for any for local reject", '"for" is given twice'),
            ("for domain regex { a = b } reject", "a list"),
            ("for domain { a = b } reject", "a list"),
            ("from any action b", 'no action "b"'),
        ):
            self.assertIn(said, message(f"table t {{ x }}\naction a relay\nmatch {written}\n"), written)

    def test_noForwardReference(self) -> None:
        self.assertEqual(
            problems("match from any action a\naction a relay\nmatch for domain <t> reject\ntable t { x }\n"),
            [
                '1:23 action "a" is declared below, at smtpd.conf:2, and must be declared above this line',
                '3:18 table "t" is declared below, at smtpd.conf:4, and must be declared above this line',
            ],
        )

    def test_thereMustBeOne(self) -> None:
        self.assertIn('no "match" rule', problems("listen on lo\n")[0])


class TableTests(SynchronousTestCase):
    def test_backends(self) -> None:
        for written, backend in (
            ("file:/etc/t", BackendSpec("file", "/etc/t")),
            ("static:/etc/t", BackendSpec("file", "/etc/t")),
            ('"/etc/t"', BackendSpec("file", "/etc/t")),
            ('"sqlite:/etc/t"', BackendSpec("sqlite", "/etc/t")),
            ("acme:x=y", BackendSpec("acme", "x=y")),
        ):
            if "=" in written:
                written = f'"{written}"'
            found = read(f"table t {written}\n{REJECT}").tables["t"].backend
            self.assertEqual((found.name, found.argument), (backend.name, backend.argument))

    def test_inline(self) -> None:
        tables = read(f'table a {{ x, Y\n z }}\ntable b {{ k = "v w", l => u\n }}\n{REJECT}').tables
        self.assertEqual((tables["a"].entries, tables["a"].isMap), ((("x", ""), ("Y", ""), ("z", "")), False))
        self.assertEqual((tables["b"].entries, tables["b"].isMap), ((("k", "v w"), ("l", "u")), True))

    def test_implicit(self) -> None:
        tables = read(REJECT).tables
        names = [key for key, _ in tables["<localnames>"].entries]
        self.assertEqual(names[:3], ["localhost", "mx.example.org", "127.0.0.1"])
        self.assertIn(("local", ""), tables["<localhost>"].entries)
        self.assertIn(("0.0.0.0/0", ""), tables["<anyhost>"].entries)
        self.assertIn(("*", ""), tables["<anydestination>"].entries)

    def test_whatDoesNotFit(self) -> None:
        for written, said in (
            ("t file:etc/t", "is absolute"),
            ("t static", "in braces"),
            ('t ":x"', "a backend must stand here"),
            ('"<t>" { a }', "angle brackets"),
        ):
            self.assertIn(said, message(f"table {written}\n"))
        self.assertIn("already declared", message("table t { a }\ntable t { b }\n"))


class SettingTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        config = read(REJECT)
        self.assertEqual((config.smtp, config.mta, config.mda), (SmtpLimits(), MtaLimits(), MdaLimits()))
        self.assertEqual((config.queue, config.scheduler), (QueueLimits(), SchedulerLimits()))
        self.assertEqual(str(config.queueBackend), "sqlite:")
        self.assertIsNone(config.resolver)

    def test_settings(self) -> None:
        config = read(
            """
            queue backend "fs:/var/spool/x"
            scheduler backend ram
            resolver 192.0.2.53 port 5353
            queue ttl 12h
            smtp max-message-size 1.5M
            smtp sub-addr-delim "-"
            mta allow-local-mx
            mta bounce-signed-8bit
            mta limit inet6 max-conn-per-host 3 gather 50ms conn-delay-host 2
            queue limit min-free-space 7% min-free-inodes 0 file-threshold 64K
            scheduler limit max-inflight 9 max-evp-batch-size 8
            mda limit max-session-per-user 2
            smtp limit max-mails 7 max-rcpt 100 command-timeout 1m data-timeout 30
            match reject
            """
        )
        self.assertEqual((config.queueBackend.name, config.queueBackend.argument), ("fs", "/var/spool/x"))
        self.assertEqual(config.resolver, ResolverSpec("192.0.2.53", 5353))
        self.assertEqual((config.smtp.maxMessageSize, config.subAddressDelimiter), (1_572_864, "-"))
        self.assertTrue(config.allowLocalMx)
        self.assertTrue(config.bounceSigned8bit)
        self.assertEqual((config.mta.family, config.mta.maxConnPerHost), ("inet6", 3))
        self.assertEqual((config.mta.gather, config.mta.connDelayHost), (0.05, 2.0))
        self.assertEqual(config.queue, QueueLimits(43200.0, 65536, 0.07, 0.0))
        self.assertEqual(config.scheduler, SchedulerLimits(9, 8))
        self.assertEqual(config.mda.maxSessionPerUser, 2)
        self.assertEqual((config.smtp.maxMails, config.smtp.commandTimeout, config.smtp.dataTimeout), (7, 60.0, 30.0))

    def test_everyBoundHasAName(self) -> None:
        for word, limits in (
            ("smtp", SmtpLimits()),
            ("mta", MtaLimits()),
            ("mda", MdaLimits()),
            ("scheduler", SchedulerLimits()),
            ("queue", QueueLimits()),
        ):
            names = limitNames(limits)
            elsewhere = {"maxMessageSize", "family", "ttl"}
            self.assertEqual(set(names.values()), {field.name for field in fields(limits)} - elsewhere)
            for name, attribute in names.items():
                found = getattr(read(f"{word} limit {name} 7\n{REJECT}"), word)
                self.assertEqual(getattr(found, attribute), 0.07 if "Free" in attribute else 7, name)

    def test_whatDoesNotFit(self) -> None:
        for written, said in (
            ("queue ttl 4y", "is not a time"),
            ("smtp max-message-size 0", "no message is that small"),
            ("smtp max-message-size lots", "is not a size"),
            ("smtp max-message-size M", "no number in front"),
            ('smtp sub-addr-delim "@"', "one printable character"),
            ("smtp limit max-mails 0", "more than nothing"),
            ("smtp limit max-mails many", "a whole number"),
            ("smtp limit max-mail 5", 'did you mean "max-mails"'),
            ("queue limit min-free-space 101", "percentage"),
            ('queue backend ":x"', "name:argument"),
            ("resolver ns.example.org", "is not an IP address"),
            ("queue backend a\nqueue backend b", "already set at smtpd.conf:1"),
            ("pki mx.example.org cert /x\n".replace("/x", '"/x"'), "has no key"),
            ("pki a:b cert x key y", "host name"),
        ):
            self.assertIn(said, message(f"{written}\n"), written)

    @settings(deadline=None)
    @given(st.integers(1, 300), st.sampled_from("smhd"))
    def test_delays(self, number: int, unit: str) -> None:
        self.assertEqual(parseDelay(f"{number}{unit}"), number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit])

    @settings(deadline=None)
    @given(st.text(max_size=20))
    def test_anyText(self, text: str) -> None:
        for parse in (parseDelay, parseSize, parseRelay):
            try:
                parse(text)
            except ValueError as error:
                self.assertTrue(str(error))


class WarningTests(SynchronousTestCase):
    def warnings(self, text: str) -> list[str]:
        return list(read(text).warnings)

    def test_unused(self) -> None:
        self.assertEqual(
            self.warnings("table t { x }\naction a maildir\nm = x\nmatch reject"),
            [
                'smtpd.conf:1: table "t" is never used',
                'smtpd.conf:2: action "a" is never used',
                'smtpd.conf:3: macro "m" is never used',
            ],
        )

    def test_used(self) -> None:
        self.assertEqual(self.warnings("m = x\ntable t { $m = y }\naction a maildir alias <t>\nmatch action a"), [])
