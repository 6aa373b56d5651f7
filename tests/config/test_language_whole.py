"""Directives, options and conditions that became values, and who refuses what."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, Finding, Reading, unbuilt
from pysmtpd.config.inspect import Machine, inspect
from pysmtpd.config.problem import Problems
from pysmtpd.config.unbuilt import UNBUILT
from pysmtpd.model.config import AuthMode, FilterKind, Method, ProxySpec, TableRef
from tests.config.support import ENVIRONMENT, problems, read

REJECT = "\nmatch reject\n"
PKI = 'pki a.example cert "/c" key "/k"\n'


def finding(text: str) -> set[Finding]:
    """The kinds of all problems."""
    reading = Reading("smtpd.conf", lambda path: text + REJECT, ENVIRONMENT, {})
    return {problem.finding for problem in reading.problems.found()}


class FilterTests(SynchronousTestCase):
    PROCS = 'proc p "/bin/x" user u group g chroot "/c"\nfilter f proc p\nfilter e proc-exec "y -z" user v\n'

    def test_processes(self) -> None:
        config = read(self.PROCS + "filter c chain { f, e }\nlisten on lo filter c" + REJECT)
        self.assertEqual(
            (config.procs["p"].command, config.procs["p"].user, config.procs["p"].chroot), ("/bin/x", "u", "/c")
        )
        self.assertEqual((config.procs["e"].command, config.procs["e"].user), ("y -z", "v"))
        self.assertIs(config.filters["e"].kind, FilterKind.PROC_EXEC)
        self.assertEqual(config.filters["c"].members, ("f", "e"))
        self.assertEqual(config.listeners[0].filters, ("c",))

    def test_builtIn(self) -> None:
        spec = read('filter f phase helo match ! rdns regex { "^x" } disconnect "550 no"' + REJECT).filters["f"]
        self.assertEqual(
            (spec.phase, spec.condition, spec.negated, spec.decision), ("helo", "rdns", True, "disconnect")
        )
        self.assertEqual(spec.text, "550 no")
        self.assertTrue(spec.table and spec.table.regex)

    def test_oneProcessTwice(self) -> None:
        """As OpenSMTPD, we take it."""
        config = read(self.PROCS + "filter g proc p\nfilter c chain { f, g }\nlisten on lo filter c" + REJECT)
        self.assertIn('the process "p" has another filter here', config.warnings[0])

    def test_whatDoesNotFit(self) -> None:
        for text, said in (
            ("filter f proc q", 'no proc "q"'),
            ("filter f chain { g }", 'no filter "g"'),
            (self.PROCS + "filter c chain { f, f }", "given twice"),
            (self.PROCS + "filter c chain { f }\nfilter d chain { c }", "a chain holds no other"),
            (self.PROCS + "filter f phase data match fcrdns junk", "already declared"),
            ("filter f phase connect match helo x junk", "not known in the phase connect"),
            ("filter f phase data match rcpt-to x junk", "but in rcpt-to"),
            ("filter f phase commit match fcrdns junk", "too late"),
            ('filter f phase quit match fcrdns reject "x"', '"quit" cannot stand here'),
            ("filter f phase ehlo match fcrdns jnuk", 'did you mean "junk"'),
            ("listen on lo filter x", 'no filter "x"'),
            ('proc p "x" user a user b', "given twice"),
        ):
            found = problems(text + REJECT)
            self.assertEqual(len(found), 1, found)
            self.assertIn(said, found[0], text)


class ListenerTests(SynchronousTestCase):
    def test_options(self) -> None:
        listener = read(
            f"{PKI}ca c.example cert x\ntable m {{ a = b }}\n"
            f"listen on lo smtps verify pki a.example pki A.example ca C.example ciphers HIGH "
            f"protocols TLSv1.3 auth mask-src no-dsn received-auth senders <m> masquerade hostnames <m> xclient 192.0.2.1 xclient-login"
            + REJECT
        ).listeners[0]
        self.assertEqual((listener.pki, listener.ca, listener.ciphers), (("a.example",), "c.example", "HIGH"))
        self.assertEqual((listener.auth, listener.authTable), (AuthMode.REQUIRED, None))
        self.assertTrue(listener.maskSource and listener.noDsn and listener.receivedAuth and listener.masquerade)
        self.assertEqual((listener.senders, listener.hostnames), (TableRef("m"), TableRef("m")))
        self.assertTrue(listener.xclient and listener.xclientLogin and listener.submission)

    def test_proxy(self) -> None:
        listener = read("table p { 192.0.2.1 }\nlisten on lo proxy from <p>" + REJECT).listeners[0]
        self.assertEqual(listener.proxy, ProxySpec(True, TableRef("p")))
        listener = read("table p { 192.0.2.1 }\nlisten on lo proxy-v2 from <p>" + REJECT).listeners[0]
        self.assertEqual(listener.proxy, ProxySpec(False, TableRef("p")))
        config = read("listen on lo proxy-v2" + REJECT)
        self.assertEqual(config.listeners[0].proxy, ProxySpec(False))
        self.assertTrue(any("believes whoever" in warning for warning in config.warnings))
        self.assertIn("cannot be combined", problems("listen on lo proxy-v2 proxy from x" + REJECT)[0])

    def test_ownWordsBehindAuth(self) -> None:
        """They are no table: a single value cannot be one there."""
        for option in (
            "submission",
            "bare-newline normalise",
            "xclient 192.0.2.1",
            "proxy from 192.0.2.1",
            "auth-without-tls",
        ):
            listener = read(f"{PKI}listen on lo tls pki a.example auth {option}{REJECT}").listeners[0]
            self.assertEqual((listener.auth, listener.authTable), (AuthMode.REQUIRED, None), option)

    def test_submission(self) -> None:
        config = read("listen on lo port 587\nlisten on lo port 26 submission\nlisten on lo port 2525" + REJECT)
        self.assertEqual([listener.submission for listener in config.listeners], [True, True, False])

    def test_socket(self) -> None:
        socket = read(
            "filter f phase data match fcrdns junk\nlisten on socket tag T no-dsn filter f mask-src" + REJECT
        ).socket
        assert socket is not None
        self.assertEqual((socket.tag, socket.noDsn, socket.maskSource, socket.filters), ("T", True, True, ("f",)))
        self.assertTrue(socket.isSocket and socket.submission)
        self.assertIn("already said", problems("listen on socket\nlisten on socket" + REJECT)[0])


class ActionTests(SynchronousTestCase):
    def test_local(self) -> None:
        for method, expected in (
            ("mbox", Method.MBOX),
            ("forward-only", Method.FORWARD_ONLY),
            ("expand-only", Method.EXPAND_ONLY),
        ):
            self.assertIs(read(f"action a {method}{REJECT}").actions["a"].method, expected)
            self.assertIn('"user" cannot be combined', problems(f"action a {method} user bob{REJECT}")[0])
        action = read('action a maildir "~/x" junk userbase { ann = "1:1:/x" }' + REJECT).actions["a"]
        self.assertEqual((action.path, action.junk), ("~/x", True))
        self.assertIsNotNone(action.userbase)
        self.assertTrue(read("action a maildir junk" + REJECT).actions["a"].junk)

    def test_relay(self) -> None:
        action = read(
            f'{PKI}srs key "k"\ntable h file:/h\ntable m {{ a = b }}\n'
            f"action a relay domain <m> auth <m> helo-src <m> src <m> pki A.example "
            f"ciphers x protocols y srs tls no-verify ttl 1d" + REJECT
        ).actions["a"]
        self.assertEqual((action.domainTable, action.heloTable, action.source), (TableRef("m"),) * 3)
        self.assertEqual((action.pki, action.ciphers, action.protocols, action.srs), ("a.example", "x", "y", True))
        self.assertEqual(
            read("table h file:/h\naction a relay host <h>" + REJECT).actions["a"].hostTable, TableRef("h")
        )
        backup = read("action a relay backup\naction b relay backup mx b.example" + REJECT).actions
        self.assertEqual(
            [(each.isBackup, each.backupMx) for each in backup.values()], [(True, ""), (True, "b.example")]
        )

    def test_whatDoesNotFit(self) -> None:
        for text, said in (
            ("relay auth { a = b }", "comes behind"),
            ("relay auth { a = b } host x", "comes behind"),
            ("relay host x backup", "cannot be combined"),
            ("relay backup host x", "cannot be combined"),
            ("relay host x domain { a = b }", "cannot be combined"),
            ("relay srs", "needs a key"),
            ("relay domain x", "a map"),
            ("maildir userbase x", "a map"),
        ):
            self.assertIn(said, problems(f"action a {text}{REJECT}")[0], text)


class KindsTests(SynchronousTestCase):
    """What is no language at all, what OpenSMTPD takes and cannot work, and what the machine lacks, are told apart."""

    def test_checkedEarly(self) -> None:
        for text in (
            "action a relay pki nosuch",
            "action a relay ca nosuch",
            'action a relay host "nonsense://x"',
            'action a relay mail-from "x y"',
            'action a relay helo "x y"',
            'action a maildir "%{nonsense}"',
            "action a lmtp nowhere:x",
            'listen on lo hostname "x y"',
            "smtp max-message-size M",
            'smtp max-message-size ""',
            'pki "" cert "/c" key "/k"',
            'pki \'a.exam\\ple\' cert "/c" key "/k"',
            'ca "" cert "/c"',
            "table t file",
        ):
            self.assertEqual(finding(text), {Finding.CHECK}, text)

    def test_commands(self) -> None:
        self.assertEqual(finding('action a mda "x | y"'), {Finding.CHECK})

    def test_twiceListened(self) -> None:
        self.assertEqual(finding("listen on lo\nlisten on lo"), {Finding.CHECK})

    def test_authTables(self) -> None:
        self.assertEqual(finding(f"{PKI}listen on lo tls pki a.example auth x"), {Finding.CHECK})

    def test_limits(self) -> None:
        self.assertEqual(finding("mta limit max-conn-per-host 0"), {Finding.CHECK})
        self.assertEqual(finding("mta limit max-conn-per-host many"), {Finding.LANGUAGE})

    def test_root(self) -> None:
        self.assertEqual(finding("action a maildir user root"), {Finding.CHECK})

    def test_machine(self) -> None:
        self.assertEqual(finding("listen on nosuch0"), {Finding.ENVIRONMENT})

    def test_namesOfPki(self) -> None:
        self.assertEqual(finding(f"{PKI}listen on lo tls pki A.EXAMPLE"), set())

    def test_twiceInARule(self) -> None:
        for text in ("auth from auth", "from auth auth", "mail-from x from mail-from y", "rcpt-to x for rcpt-to y"):
            self.assertIn("given twice", problems(f"match {text} reject\n")[0])

    def test_queueKey(self) -> None:
        self.assertEqual(read("queue encryption stdin" + REJECT).queueEncryption, "stdin")
        self.assertEqual(read("queue encryption" + REJECT).queueEncryption, "stdin")
        self.assertEqual(finding("queue encryption tooshort"), {Finding.LANGUAGE})
        old, new = "0123456789abcdef" * 2, "fedcba9876543210" * 2
        config = read(f"queue encryption backup {old}\nqueue encryption {new}" + REJECT)
        self.assertEqual((config.queueEncryption, config.queueBackupKey), (new, old))
        self.assertEqual(finding("queue encryption backup stdin"), {Finding.LANGUAGE})

    def test_includeAlone(self) -> None:
        self.assertEqual(finding('include "x" action a relay'), {Finding.LANGUAGE})

    def test_tableArguments(self) -> None:
        config = read('table a "ldap:uri=x"\ntable b ldap\ntable c "sqlite:/x" allow-commands' + REJECT)
        self.assertEqual([config.tables[name].backend.argument for name in "abc"], ["uri=x", "", "/x"])
        self.assertTrue(config.tables["c"].allowCommands)
        for text in ("db", "db:x", "sqlite:x", "getpwnam:/x"):
            self.assertEqual(finding(f'table t "{text}"'), {Finding.LANGUAGE}, text)

    def test_regex(self) -> None:
        environment = Environment("a", interfaces={}, regexFault=lambda text: "it is not closed" if "(" in text else "")
        text = 'table t { "(", x }\nmatch for domain regex { "a(b" } helo regex <t> reject\n'
        found = Reading("t", lambda path: text, environment, {}).problems.found()
        self.assertEqual([problem.finding for problem in found], [Finding.ENVIRONMENT] * 2)
        self.assertIn('t:2:18: environment: "a(b" is no regular expression: it is not closed', str(found[0]))


class SettingTests(SynchronousTestCase):
    def test_srs(self) -> None:
        srs = read('srs key "a"\nsrs key backup "b"\nsrs ttl 50h\nsrs domain { x.example }' + REJECT).srs
        assert srs is not None
        self.assertEqual((srs.key, srs.backupKey, srs.ttl), ("a", "b", 2 * 86400.0))
        self.assertIsNotNone(srs.domains)
        self.assertIn("a day at least", problems("srs ttl 23h" + REJECT)[0])

    def test_boundsOfADomain(self) -> None:
        config = read(
            "mta limit max-conn-per-host 7 inet4\nmta limit for domain Example.org max-conn-per-domain 3\n"
            "mta limit max-conn-per-host 9" + REJECT
        )
        bounds = config.mtaDomains["example.org"]
        self.assertEqual((bounds.maxConnPerHost, bounds.maxConnPerDomain, bounds.family), (7, 3, "inet4"))
        self.assertEqual(config.mta.maxConnPerHost, 9)

    def test_pkiInParts(self) -> None:
        config = read('pki A.example cert "/1"\npki a.example key "/k" dhe AUTO\npki a.example cert "/2"' + REJECT)
        spec = config.pki["a.example"]
        self.assertEqual((spec.cert, spec.key, spec.dhe), ("/2", "/k", "auto"))
        self.assertTrue(any("another certificate" in warning for warning in config.warnings))


class UnbuiltTests(SynchronousTestCase):
    def test_wordsAndPlaces(self) -> None:
        config = read('proc p "x"\nfilter f proc p' + REJECT)
        found = unbuilt(config)
        for word, where in found:
            self.assertIn(word, UNBUILT)
            self.assertEqual(where.file, "smtpd.conf")
        self.assertEqual(unbuilt(read("action a relay\nmatch for any action a")), ())


class InspectTests(SynchronousTestCase):
    """What a configuration names, and the machine does not have."""

    def found(
        self,
        text: str,
        modes: dict[str, int],
        users: tuple[str, ...] = (),
        openings: dict[str, list[tuple[str, str]]] | None = None,
    ) -> list[str]:
        def fileMode(path: str) -> int:
            if path not in modes:
                raise FileNotFoundError(2, "No such file or directory", path)
            return modes[path]

        problems = Problems()
        machine = Machine(
            users.__contains__,
            users.__contains__,
            fileMode,
            lambda path: (openings or {}).get(path, []),
            lambda: {"a.example": ["does not fit"]} if PKI in text else {},
            lambda spec: [f"{spec.name} is nonsense"] if spec.cert == "/nonsense" else (),
        )
        inspect(read(text + REJECT), ["smtpd.conf"], machine, problems)
        self.assertTrue(all(problem.finding is Finding.ENVIRONMENT for problem in problems.found()))
        return [*problems.warnings, *(problem.message for problem in problems.found())]

    def test_users(self) -> None:
        text = 'action a maildir user nosuch\nproc p "x" user u group g\n'
        self.assertEqual(
            self.found(text, {}), ['there is no user "nosuch"', 'there is no user "u"', 'there is no group "g"']
        )
        self.assertEqual(self.found(text, {}, ("nosuch", "u", "g")), [])

    def test_files(self) -> None:
        text = 'ca c cert "/ca"\ntable t file:/t\ntable d db:/d\ntable l ldap:/l'
        found = self.found(text, {})
        self.assertEqual([message.split(":")[0] for message in found], ["ca c", "table t", "table d"])

    def test_certificates(self) -> None:
        self.assertEqual(self.found(PKI, {"/k": 0o600}), ["does not fit"])
        self.assertEqual(self.found('ca c cert "/nonsense"', {"/nonsense": 0o644}), ["c is nonsense"])

    def test_secrets(self) -> None:
        self.assertIn("everybody may read /k", self.found(PKI, {"/k": 0o604})[1])
        relay = "action a relay host smtps://l@x auth"
        self.assertEqual(self.found(f"{relay} {{ l = x }}", {"smtpd.conf": 0o640}), [])
        self.assertIn("everybody may read smtpd.conf", self.found(f"{relay} {{ l = x }}", {"smtpd.conf": 0o644})[0])
        self.assertIn("credentials of table s", self.found(f"table s file:/s\n{relay} <s>", {"/s": 0o644})[0])
        self.assertIn("key of srs", self.found('srs key "k"', {"smtpd.conf": 0o644})[0])
        self.assertIn("key of the queue", self.found(f'queue encryption "{"k" * 32}"', {"smtpd.conf": 0o644})[0])
        self.assertEqual(self.found("queue encryption", {"smtpd.conf": 0o644}), [])
        backup = f'queue encryption backup "{"k" * 32}"'
        self.assertIn("key of the queue", self.found(backup, {"smtpd.conf": 0o644})[0])

    def test_whoMayWrite(self) -> None:
        """Whoever may write a directory may put another file in the place; of several files in it, the first tells."""
        text = f'{PKI}\nsrs key "k"'
        modes = {"smtpd.conf": 0o640, "/k": 0o600}
        self.assertEqual(self.found(text, modes), ["does not fit"])
        open_ = {"smtpd.conf": [("/etc", "")], "/k": [("/k", "user ann"), ("/etc", "")]}
        self.assertEqual(
            self.found(text, modes, openings=open_),
            [
                "smtpd.conf:1: key of pki a.example: user ann may write /k",
                "does not fit",
                "the configuration: everybody may write /etc; chmod o-w /etc",
            ],
        )
