"""Configurations of OpenSMTPD before 6.4."""

from __future__ import annotations

from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config.dated.convert import convert
from pysmtpd.config.dated.reader import OLD_WORDS
from tests.config.support import problems, read


class ConvertTests(SynchronousTestCase):
    def check(self, old: str, new: str) -> None:
        """It becomes this, and nothing is left out."""
        converted = convert("smtpd.conf", dedent(old))
        self.assertEqual(converted.reasons, ())
        self.assertEqual(converted.text, dedent(new))

    def reason(self, old: str) -> str:
        """Why the one directive stays a comment."""
        converted = convert("smtpd.conf", old)
        self.assertEqual(len(converted.reasons), 1, converted.text)
        self.assertIn(f"# {old}", converted.text)
        self.assertTrue(all(line.startswith("#") for line in converted.text.splitlines()))
        return converted.reasons[0]

    def test_rules(self) -> None:
        for old, action, match in (
            (
                "accept from any for domain example.org alias <aliases> deliver to mbox",
                '"mbox" mbox alias <aliases>',
                'from any for domain example.org action "mbox"',
            ),
            (
                'accept for any virtual { "@" => user } deliver to maildir',
                '"maildir" maildir virtual { "@" = "user" }',
                'for any action "maildir"',
            ),
            (
                "accept for domain D relay backup N",
                '"relay" relay backup mx N',
                'for domain D action "relay"',
            ),
            ("accept for any relay", '"relay" relay', 'for any action "relay"'),
            (
                "accept for any relay via tls+auth://label@a.example auth <secrets> hostname b.example",
                '"relay" relay host "smtp+tls://label@a.example" auth <secrets> helo b.example tls no-verify',
                'for any action "relay"',
            ),
            (
                "accept for any relay via smtps://a.example:465 verify",
                '"relay" relay host "smtps://a.example:465" tls',
                'for any action "relay"',
            ),
            (
                "accept for any relay via secure://a.example:465",
                '"relay" relay host "smtps://a.example:465" tls no-verify',
                'for any action "relay"',
            ),
            (
                'accept tagged DKIM from ! source <far> for ! domain <far> sender ! <who> recipient "a@b" relay as "@x" source <near>',
                '"relay" relay mail-from "@x" src <near>',
                '''tag DKIM ! from src <far> ! for domain <far> ! mail-from <who> rcpt-to "a@b" action "relay"''',
            ),
            (
                'accept ! authenticated for local userbase <users> deliver to lmtp "/run/lmtp" rcpt-to as vmail expire 2d',
                '"lmtp" lmtp "/run/lmtp" rcpt-to user vmail userbase <users> ttl 2d',
                '! auth for local action "lmtp"',
            ),
            (
                'accept for local deliver to mda "procmail -f -" as bob',
                '"mda" mda "procmail -f -" user bob',
                'for local action "mda"',
            ),
            (
                'accept for local deliver to mda "procmail | tee x"',
                '"mda" mda shell "procmail | tee x"',
                'for local action "mda"',
            ),
            (
                "accept for domain example.org alias <aliases> forward-only",
                '"forward-only" forward-only alias <aliases>',
                'for domain example.org action "forward-only"',
            ),
            (
                "accept for any relay tls verify pki a.example",
                '"relay" relay pki a.example tls',
                'for any action "relay"',
            ),
        ):
            self.check(f"{old}\n", f"action {action}\nmatch {match}\n")

    def test_reject(self) -> None:
        self.check('reject from any sender "@x" for any\n', 'match from any mail-from "@x" for any reject\n')

    def test_actionsAreShared(self) -> None:
        self.check(
            """\
            accept for domain a relay
            accept for domain b relay tls
            accept for domain c relay
            """,
            """\
            action "relay" relay
            match for domain a action "relay"
            action "relay_2" relay tls no-verify
            match for domain b action "relay_2"
            match for domain c action "relay"
            """,
        )

    def test_orderAndCommentsStay(self) -> None:
        self.check(
            """\
            # first
            reject for domain a   # why

            accept for any relay \\
                via smtp://a.example
            # last
            """,
            """\
            # first
            # why
            match for domain a reject

            action "relay" relay host "smtp://a.example"
            match for any action "relay"
            # last
            """,
        )

    def test_macrosStay(self) -> None:
        self.check(
            'lan = "{ 192.0.2.1, a }"\naccept for domain $lan relay via $lan\n',
            'lan = "{ 192.0.2.1, a }"\n'
            "# pysmtpd convert: the macro must hold a URL of today: smtp://, smtp+tls://, smtps:// or lmtp://\n"
            'action "relay" relay host $lan\nmatch for domain $lan action "relay"\n',
        )

    def test_macrosThatCannotBeUsed(self) -> None:
        self.check('"a b" = c\nx-y = z\n', '"a b" = c\nx-y = z\n')

    def test_macrosOfSeveralWords(self) -> None:
        self.check(
            """\
            who = "from any"
            opts = "port 25"
            listen on lo $opts
            accept $who for any relay
            """,
            """\
            who = "from any"
            opts = "port 25"
            listen on lo $opts
            # pysmtpd convert: what the macros stood for is written out here
            action "relay" relay
            match from any for any action "relay"
            """,
        )

    def test_settings(self) -> None:
        for old, new in (
            ("expire 4d", "queue ttl 4d"),
            ("expire 4\\\\\nexpire 4d", 'queue ttl "4\\\\\n"\nqueue ttl 4d'),
            ("bounce-warn 4h, 1d", "bounce warn-interval 4h, 1d"),
            ("max-message-size 35M", "smtp max-message-size 35M"),
            ("max-message-size 1000", "smtp max-message-size 1000"),
            ("max-mta-deferred 100", "mta max-deferred 100"),
            ('subaddressing-delimiter "-"', 'smtp sub-addr-delim "-"'),
            ("queue compression", "queue compression"),
            ('queue encryption key "k"', 'queue encryption "k"'),
            ("limit session max-rcpt 5", "smtp limit max-rcpt 5"),
            ("limit mta for domain a inet6 max-conn-per-host 5", "mta limit for domain a inet6 max-conn-per-host 5"),
            ("limit scheduler max-inflight 5", "scheduler limit max-inflight 5"),
            ("ciphers HIGH", "smtp ciphers HIGH"),
            ('pki a certificate "/c"', 'pki a cert "/c"'),
            ('pki a key "/k"', 'pki a key "/k"'),
            ('ca a certificate "/c"', 'ca a cert "/c"'),
            ("table t { a, b\n c }", "table t { a, b\n c }"),
            ("table t { action, b\n c }", 'table t { "action", b, c }'),
            ('table t { a => "b c", action = x }', 'table t { a = "b c", "action" = x }'),
            ("table t db:/etc/t.db", "table t db:/etc/t.db"),
            ("listen on lo port 26 mask-source no-dsn tag T", "listen on lo port 26 mask-src no-dsn tag T"),
            (
                "listen on lo senders <t> masquerade hostname match",
                'listen on lo senders <t> masquerade hostname "match"',
            ),
            ("listen on socket mask-source", "listen on socket mask-src"),
            ("listen on lo smtps pki a auth <t>", "listen on lo smtps pki a auth <t>"),
            ("listen on lo secure pki a", "listen on lo tls pki a\nlisten on lo smtps pki a"),
        ):
            self.check(f"{old}\n", f"{new}\n")

    def test_whatStaysAComment(self) -> None:
        for old, why in (
            ('filter x "y"', "filters are programs"),
            ("listen on lo filter x", "filters are programs"),
            ("listen on lo tls", "a certificate must be named"),
            ("accept for any relay via backup://a.example", "has no counterpart"),
            ("accept for any", "has no"),
            ("accept for any relay as ann", "write the address out"),
            ("accept for any alias <t> relay", "a relay has no users"),
            ('accept for any deliver to mda "x %{sender} | y"', "no shell"),
            ("accept for any deliver to nowhere", "unknown"),
            ("nonsense here", "has no counterpart"),
            ("accept = accept for", "a macro has a name and one value"),
            ("listen = x", "a macro has a name and one value"),
            ("x = 5", "in quotes"),
            ("accept for any relay )", '")"'),
            ('accept for any relay "', "never closed"),
        ):
            self.assertIn(why, self.reason(old), old)

    def test_theResultIsRead(self) -> None:
        converted = convert(
            "smtpd.conf",
            dedent(
                """
                pki mx.example.org certificate "/c"
                pki mx.example.org key "/k"
                table aliases { root = ann }
                listen on lo
                listen on lo port 587 tls-require auth
                accept for local alias <aliases> deliver to mbox
                accept from any for domain "example.org" deliver to maildir "~/Mail"
                accept authenticated from any for any relay
                reject from any for any
                """
            ),
        )
        self.assertEqual(problems(converted.text), [])
        config = read(converted.text)
        self.assertEqual([rule.action for rule in config.rules], ["mbox", "mbox", "maildir", "relay", None])

    def test_whoLoggedInWasLocal(self) -> None:
        """To rules before 6.4; today "from local" is about addresses alone."""
        listens = "listen on lo tls pki a auth\n"
        for old, *new in (
            ("accept for any relay", "from auth for any", "for any"),
            ("accept from local for any relay", "from auth for any", "from local for any"),
            ("accept authenticated for any relay", "from auth for any"),
            ("accept from local authenticated for any relay", "from auth for any"),
            ("accept ! authenticated for any relay", "! auth for any"),
            ("accept from any for any relay", "from any for any"),
            ("accept from any authenticated for any relay", "from any auth for any"),
            ("accept from ! local for any relay", "! from local for any ! auth"),
            ("accept from source <t> for any relay", "from src <t> for any"),
        ):
            rules = "".join(f'match {conditions} action "relay"\n' for conditions in new)
            self.check(f"{listens}{old}\n", f'{listens}action "relay" relay\n{rules}')
        self.check(f"{listens}reject for any\n", f"{listens}match from auth for any reject\nmatch for any reject\n")
        self.assertIn("does not listen", convert("t", "accept for any relay\n").notes[0])
        self.assertEqual(convert("t", "accept from any for any relay\n").notes, ())

    def test_linesOfTodayStay(self) -> None:
        text = dedent(
            """\
            filter f phase connect match ! rdns junk  # why
            listen on lo filter f
            action "relay" relay  # the first
            match for any \\
                action "relay"
            """
        )
        self.check(text, text)
        self.check(
            f"{text}accept for any relay tls\n",
            f'{text}action "relay_2" relay tls no-verify\nmatch for any action "relay_2"\n',
        )

    def test_unknownMacroBeforeAQuoteOverLines(self) -> None:
        """What is inside the quote is no line of its own."""
        converted = convert("t", 'accept for any via $x"\nlisten on lo\naccept for any relay\n"\n')
        self.assertEqual([line[:1] for line in converted.text.split("\n")[:-1]], ["#"] * 5)

    def test_maps(self) -> None:
        """Before there were tables."""
        self.check(
            """\
            map aliases source db "/etc/mail/aliases.db"
            map "more" { source plain "/etc/more" }
            map odd source plain '/etc/"odd"'
            other = "'/etc/other'"
            map other source plain $other
            listen on lo
            accept for all alias aliases deliver to mbox
            """,
            """\
            table aliases "db:/etc/mail/aliases.db"
            table "more" "file:/etc/more"
            table odd "file:/etc/\\"odd\\""
            other = "'/etc/other'"
            # pysmtpd convert: what the macros stood for is written out here
            table other "file:/etc/other"
            listen on lo
            action "mbox" mbox alias <aliases>
            match for any action "mbox"
            """,
        )

    def test_whatOthersWrite(self) -> None:
        """Byte order marks and line ends of other systems are gone, and what is not UTF-8 stays."""
        self.check("\ufefflisten on lo\r\n# \udcff\r\n", "listen on lo\n# \udcff\n")

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [*sorted(OLD_WORDS), "<", ">", "{", "}", "x", '"y"', "\n", "=", "!", "$m", "#", "'", "\\\n", "5"]
            ),
            max_size=30,
        ).map(" ".join)
    )
    def test_anyText(self, text: str) -> None:
        """What is not converted is a comment: nothing of the old language is left."""
        converted = convert("t", text)
        found = [message for message in problems(converted.text + "\nmatch reject\n") if "cannot stand here" in message]
        if "$" not in text:
            self.assertEqual(found, [], converted.text)
