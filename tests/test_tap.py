"""The command line."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.tap import main
from pysmtpd.testing.certificates import selfSigned
from tests.daemon import plugins
from tests.daemon.processes import CONFIG, PATIENCE, PYSMTPD, ProcessTestCase

_SHUT = """
import sys
import pysmtpd.tap
import twisted.internet.reactor
import twisted.plugins
from pysmtpd.running import loadAhead
if sys.argv[1] == "ahead":
    loadAhead()
twisted.plugins.__path__[:] = ["/nowhere"]
sys.meta_path.clear()
"""

_NAME = r"""
from pysmtpd.smtp.grammar import parsePath
print(parsePath("<j\u00f6rg@b\u00fccher.example>", utf8=True))
"""

_IPV6 = """
import socket
print(socket.getaddrinfo("::1", 25, flags=socket.AI_NUMERICHOST))
"""

_TABLE = """
from pysmtpd.backends import findBackend
for name in ("db", "file", "getpwnam", "sqlite", "static"):
    print(name, findBackend("table", name).load())
"""


class LoadAheadTests(SynchronousTestCase):
    """What is used where nothing can be loaded any more, and could not be if nothing had been loaded ahead."""

    def tell(self, program: str, *said: str) -> None:
        """
        @param said: what the program prints, if it can.
        """
        for how, isFine in (("ahead", True), ("late", False)):
            done = subprocess.run(
                [sys.executable, "-c", _SHUT + program, how], capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode == 0, isFine, done.stderr)
            self.assertEqual([word in done.stdout for word in said], [isFine for word in said], done.stdout)

    def test_internationalNames(self) -> None:
        self.tell(_NAME, "b\u00fccher.example")

    def test_addressesOfIpv6(self) -> None:
        self.tell(_IPV6, "::1")

    def test_tables(self) -> None:
        self.tell(_TABLE, "db <", "static <")


class CheckTests(ProcessTestCase):
    """C{pysmtpd -n} tells what would keep the daemon from its work, and touches nothing."""

    def setUp(self) -> None:
        super().setUp()
        plugins.install(self)

    def check(self, *arguments: str) -> tuple[object, str, str]:
        """Exit code, standard output, standard error."""
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            end = self.assertRaises(SystemExit, main, ["-n", "-f", str(self.place / "smtpd.conf"), *arguments])
        return end.code, out.getvalue(), error.getvalue()

    def test_nothingIsWrong(self) -> None:
        path = self.write()
        self.assertEqual(
            self.check("--spool", str(self.spool)), (0, f"{path}: configuration OK\nopen relay: closed\n", "")
        )
        self.assertFalse(self.spool.exists(), "nothing is touched")

    def test_warnings(self) -> None:
        self.write(CONFIG.replace("from local", "from any").replace("127.0.0.1", "0.0.0.0"))
        code, out, error = self.check()
        self.assertEqual(code, 0)
        self.assertIn("open relay: open (", out)
        self.assertRegex(error, r"^warning: .*smtpd\.conf:\d+: open relay: .*\n$")

    def test_warningsOfRules(self) -> None:
        """Tables in files count, and what the machine lacks is no reason to be silent."""
        (self.place / "domains").write_text("example.org\n")
        (self.place / "nobody").write_text("ann@example.org ann\n")
        self.write(
            f'table domains "{self.place}/domains"\ntable people "{self.place}/nobody"\n'
            'action "a" maildir virtual <people>\nmatch from any for domain <domains> action "a"\n'
            'match from any for domain "example.org" reject\n'
        )
        code, out, error = self.check()
        self.assertEqual(code, 0, error)
        self.assertIn("open relay: closed", out)
        self.assertRegex(error, r"smtpd\.conf:4: nobody reads mail to <postmaster@example\.org> \(RFC 5321 4\.5\.1\): ")
        self.assertRegex(error, r"smtpd\.conf:5: this rule can never match: the rule at .*:4 takes all of it")
        self.write("ca c cert /nowhere\n")
        path = self.place / "smtpd.conf"
        path.write_text('ca c cert "/nowhere"\naction "out" relay ca c\nmatch from any for any action "out"\n')
        code, _, error = self.check()
        self.assertEqual(code, 72)
        self.assertIn("open relay", error)

    def test_tables(self) -> None:
        """What they hold is looked at."""
        for text, use, said in (
            ("ann\nben x y\n", "alias", r"warning: .*smtpd\.conf:3: table t is a list"),
            ("ann: |\n", "alias", r'warning: .*smtpd\.conf:3: table t: ann: "\|" is no address, user, command'),
            ("ann nonsense\n", "userbase", r"warning: .*smtpd\.conf:3: table t: .*/t:1: "),
        ):
            (self.place / "t").write_text(text)
            self.write(before=f'table t "{self.place}/t"\naction "b" maildir {use} <t>\nmatch for local action "b"\n')
            code, _, error = self.check()
            self.assertEqual(code, 0, error)
            self.assertRegex(error, said)

    def test_networks(self) -> None:
        """What is none is told, also in a list in place: a typing error must not open what a rule was to close."""
        (self.place / "t").write_text("192.0.2.0/24\n192.0.2.0/33\n")
        for before, said in (
            ("match from src { 192.0.2.1, 192.0.2 } reject", r'conf:3: inline table: .*:3: "192\.0\.2" is no address'),
            ("match ! from src 192.0.2.0/33 reject", r'conf:3: inline table: .*:3: "192\.0\.2\.0/33" is no address'),
            (f'table t "{self.place}/t"\nmatch from src <t> reject', r'conf:3: table t: .*/t:2: "192\.0\.2\.0/33" is'),
        ):
            self.write(before=before)
            code, _, error = self.check()
            self.assertEqual(code, 0, error)
            self.assertRegex(error, f"(?m)^warning: .*smtpd\\.{said} .*it never matches$")
        self.write(before='match from src { 192.0.2.1, "[::1]", "2001:DB8::/32", "IPv6:::2", "local" } reject')
        self.assertEqual(self.check()[2], "")

    def test_backends(self) -> None:
        """One that is not installed is something that the machine lacks; those that are there are named."""
        self.write(before="table t ldap:x\n")
        code, _, error = self.check()
        self.assertEqual(code, 72, error)
        self.assertRegex(
            error,
            r'smtpd\.conf:3:9: environment: unknown table backend "ldap"; there are: broken:, db:PATH, file:PATH, getpwnam, slow:',
        )

    def test_wrongConfigurations(self) -> None:
        """Each is refused with its place and what would be right; nothing else is printed."""
        machine = r"^.*smtpd\.conf:3:{}: environment: "
        for before, code, said in (
            ("lissten on lo\n", 78, r'smtpd\.conf:3:1: unknown directive "lissten"'),
            (
                'queue backend "redis:"\n',
                72,
                machine.format(15) + r'unknown queue backend "redis"; there are: child:BACKEND, fs:\[PATH\], ',
            ),
            (
                'scheduler backend "x:"\n',
                72,
                machine.format(19) + 'unknown scheduler backend "x"; there are: leased:, null:, ram:$',
            ),
            (
                'stat backend "statsd:"\n',
                72,
                machine.format(14) + 'unknown stat backend "statsd"; there are: null:, ram:$',
            ),
            (
                'queue backend "ram:x"\n',
                78,
                r'^pysmtpd: .*smtpd\.conf:3: queue backend "ram:x": .*; it is written ram:$',
            ),
        ):
            self.write(before=before)
            found, out, error = self.check()
            self.assertEqual((found, out), (code, ""), error)
            self.assertRegex(error.splitlines()[0], said)

    def test_tablesOutside(self) -> None:
        """They are looked into: the verdict is of what they hold now."""
        nets = self.place / "nets"
        for backend in ("file", "static"):
            self.write(
                f"table nets {backend}:{nets}\nlisten on 0.0.0.0\naction out relay\nmatch from src <nets> for any action out\n"
            )
            nets.write_text("192.0.2.0/24\n")
            code, out, _ = self.check()
            verdict = ["open relay: closed, as the table nets is now", "trusted networks: 192.0.2.0/24"]
            self.assertEqual((code, out.splitlines()[1:]), (0, verdict))
            nets.write_text("192.0.2.0/24\n0.0.0.0/0\n")
            _, out, error = self.check()
            self.assertRegex(out, r"open relay: open \(.*smtpd\.conf:4\), as the table nets is now: from ")
            self.assertRegex(error, r"^warning: .*smtpd\.conf:4: open relay: .*\n$")

    def test_whatIsWrongWithTables(self) -> None:
        """Missing and malformed files keep a daemon from starting; single values do not."""
        self.write(
            f"table gone file:{self.place}/gone\ntable bad file:{self.place}/bad\ntable users file:{self.place}/users\n"
            "listen on 127.0.0.1\naction here maildir userbase <users>\nmatch for domain <gone> tag <bad> action here\n"
        )
        (self.place / "bad").write_text("a: b\nc d\ne\n")
        (self.place / "users").write_text("ann: nonsense\n")
        code, _, error = self.check()
        self.assertEqual(code, 72)
        self.assertRegex(error, r"smtpd\.conf:1:1: environment: table gone: cannot read .*/gone: No such file")
        self.assertRegex(
            error, r'smtpd\.conf:2:1: environment: cannot read the table "bad" .*: line 3: a key without a value'
        )
        self.assertRegex(error, r'warning: .*smtpd\.conf:3: table users: .*/users:1: "nonsense" is not uid:gid:home')
        self.assertEqual(error.count("smtpd.conf:1:"), 1, error)

    def test_whatIsNotBuiltYet(self) -> None:
        """It is read and checked, a note says so for each word; the daemon itself is not started with it."""
        self.write(before='proc "p" "/bin/false"\nfilter "x" proc "p"\n')
        code, _, error = self.check()
        self.assertEqual(code, 0)
        words = ["proc", "filter"]
        lines = [line for line in error.splitlines() if line.startswith("note: ")]
        self.assertEqual([line.split('"')[1] for line in lines], words)
        self.assertRegex(lines[0], r"smtpd\.conf:3: ")
        refused = subprocess.run(
            [*PYSMTPD, "-f", str(self.place / "smtpd.conf"), "--spool", str(self.spool)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(refused.returncode, 78, refused.stderr)
        path = self.place / "smtpd.conf"
        self.assertEqual(
            refused.stderr,
            f'pysmtpd: {path}:3:1: "proc" and "filter" ({path}:4) are not built yet: '
            "the daemon does not run with them\n",
        )
        self.assertFalse(self.spool.exists())

    def test_syntaxAlone(self) -> None:
        self.write(before='pki a.example cert "/nowhere/c" key "/nowhere/k"\nlisten on nosuch0 tls pki a.example\n')
        self.assertEqual(self.check("--syntax")[0], 0)
        self.assertEqual(self.check()[0], 72)
        self.write(before="lissten on lo\n")
        self.assertEqual(self.check("--syntax")[0], 78)

    def test_printed(self) -> None:
        self.write(before='where = "any"\n').write_text("a = 'any'\naction x relay\nmatch from $a for local action x\n")
        code, out, _ = self.check("--print")
        self.assertEqual(code, 0)
        self.assertIn('match from any for local action "x"\n', out)
        (self.place / "smtpd.conf").write_text(out)
        self.assertEqual(self.check("-v")[1], out)

    def test_aFileThatIsNotThere(self) -> None:
        code, _, error = self.check()
        self.assertEqual(code, 78)
        self.assertRegex(error, r"^pysmtpd: .*smtpd.conf.*: No such file or directory\n$")

    PKI = 'pki mx.example.org cert "{place}/crt" key "{place}/key"\n'

    def pki(self) -> None:
        self.write(self.PKI.format(place=self.place) + CONFIG.replace("{port}", "{port} tls pki mx.example.org"))

    def test_certificates(self) -> None:
        certificate, key = selfSigned("mx.example.org")
        (self.place / "crt").write_bytes(certificate)
        (self.place / "key").write_bytes(key)
        self.pki()
        (self.place / "key").chmod(0o644)
        code, _, error = self.check()
        self.assertEqual(code, 72)
        self.assertRegex(
            error, r"smtpd.conf:1:1: environment: key of pki mx.example.org: everybody may read .*/key; chmod o= "
        )
        (self.place / "key").chmod(0o600)
        self.assertEqual(self.check()[0], 0)

    def test_whatIsNoNetwork(self) -> None:
        self.write(
            before='table nets { "local", "10/8", "10.1", "mail.example.org" }\nmatch from src <nets> for any reject\n'
        )
        code, _, error = self.check()
        self.assertEqual(code, 0)
        for entry in ("10.1", "mail.example.org"):
            self.assertIn(f':3: "{entry}" is no address and no network: it never matches', error)
        self.assertEqual(error.count("it never matches"), 2)

    def test_openToOthers(self) -> None:
        """Who may put another file in the place of the configuration says what the daemon does."""
        self.write()
        self.place.chmod(0o757)
        code, _, error = self.check()
        self.assertEqual(code, 72)
        self.assertIn(f"environment: the configuration: everybody may write {self.place}; chmod o-w ", error)
        self.place.chmod(0o775)
        code, _, error = self.check()
        self.assertEqual(code, 0)
        self.assertRegex(error, f"^warning: .*smtpd.conf:1: the configuration: group .+ may write {self.place}\n")
        self.place.chmod(0o755)
        self.assertNotIn("may write", self.check()[2])

    def test_authorities(self) -> None:
        """What is in the file of a ca is looked at, too, and told in our words."""
        (self.place / "ca.pem").write_text("nonsense\n")
        self.write(before=f'ca c cert "{self.place}/ca.pem"\naction "b" relay ca c\nmatch from auth for any action "b"')
        code, _, error = self.check()
        self.assertEqual(code, 72, error)
        said = f"conf:3:1: environment: ca c: {self.place}/ca.pem is not in PEM form, or damaged\n"
        self.assertIn(said, error)

    def test_aCertificateThatCannotBeRead(self) -> None:
        self.pki()
        code, _, error = self.check()
        self.assertEqual(code, 72)
        self.assertIn("smtpd.conf:1:1: environment: pki mx.example.org: certificate ", error)
        self.assertIn("pki mx.example.org: key ", error)

    def test_everythingThatIsWrong(self) -> None:
        self.write("nonsense\nlisten on lo pki x\n")
        _, _, error = self.check()
        self.assertIn("smtpd.conf:1:", error)
        self.assertIn("smtpd.conf:2:", error)

    def test_defines(self) -> None:
        self.write(CONFIG.replace("127.0.0.1 port {port}", "$where", 1))
        self.assertEqual(self.check("-D", "where=127.0.0.1")[0], 0)
        code, _, error = self.check("-D", "where=nowhere.test")
        self.assertEqual(code, 72)
        self.assertIn("nowhere.test", error)
        # A typing error has no effect; that is told.
        code, _, error = self.check("-D", "where=127.0.0.1", "-D", "wehre=127.0.0.2")
        self.assertEqual(code, 0)
        self.assertRegex(error, r'^warning: .*smtpd\.conf:1: the file has no macro "wehre", which -D defines\n$')

    def test_usage(self) -> None:
        self.write()
        for options in (
            ("-P", "queue"),
            ("-D", "x"),
            ("-D", "a b=c"),
            ("--log", "xml"),
            ("--nonsense",),
            ("--syntax", "--print"),
        ):
            code, _, error = self.check(*options)
            self.assertEqual(code, 2, options)
            self.assertIn("Try: pysmtpd --help", error)
        code, _, error = self.check("copi")
        self.assertEqual(code, 2)
        self.assertIn("'copi' cannot stand here; pysmtpd has the commands copy, explain,", error)
