"""What is done with an envelope, by its action and by what an expansion gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mda.plan import ConfigurationFault, Letter, needsHome, plan
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Action, Command, Config, MdaLimits, Method
from pysmtpd.model.task import Account, CommandTask, MaildirTask, MboxTask, Task
from tests.mda.fakes import CONTENT, delivery

NOW = 1_767_225_600.0
SPAM = b"Subject: x\r\nX-Spam-Flag: YES\r\n\r\nx"


class PlanTestCase(SynchronousTestCase):
    sender = Path("Ann", "example.net")
    account = Account("bob", home="/home/bob")

    def plan(
        self, action: Action, recipient: str = "bob+lists", head: bytes = CONTENT, wrappers: Any = None, **more: Any
    ) -> Task | None:
        config = Config("f", "mx", wrappers=wrappers or {}, mda=MdaLimits(commandTimeout=7.0))
        given = delivery(1, "bob")
        message = replace(given.message, transaction=replace(given.message.transaction, sender=self.sender))
        destination = replace(
            given.envelopes[0].destination,
            recipient=Path(recipient, "Example.org"),
            original=Path("info", "example.com"),
            **more,
        )
        envelope = replace(given.envelopes[0], destination=destination)
        return plan(config, action, Letter(message, envelope, self.account, head, NOW, "mx"))

    def fault(self, *values: Any, **more: Any) -> str:
        return str(self.assertRaises(ConfigurationFault, self.plan, *values, **more))

    def command(self, *values: Any, **more: Any) -> CommandTask:
        task = self.plan(*values, **more)
        assert isinstance(task, CommandTask)
        return task


class MaildirTests(PlanTestCase):
    def maildir(self, recipient: str = "bob+lists", head: bytes = CONTENT, **more: Any) -> MaildirTask:
        task = self.plan(Action("a", Method.MAILDIR, **more), recipient, head)
        assert isinstance(task, MaildirTask)
        return task

    def test_usual(self) -> None:
        task = self.maildir("bob")
        self.assertEqual((task.path, task.beneath, task.folder), ("~/Maildir", "", ""))
        self.assertEqual(task.prefix, b"Return-Path: <Ann@example.net>\r\nDelivered-To: bob@Example.org\r\n")

    def test_theFolderOfASubAddress(self) -> None:
        task = self.maildir()
        self.assertEqual((task.folder, task.isFolderMade), ("lists", False))
        for tag, folder in [("../x", "::-x"), (".x", ":x"), ("a$b", "a:b"), ("", ""), ("x" * 300, "")]:
            self.assertEqual(self.maildir(f"bob+{tag.replace('/x', '-x')}").folder, folder)

    def test_junk(self) -> None:
        for field in ("X-Spam: Yes", "x-spam-flag: YES", "X-Spam:yes "):
            task = self.maildir(head=f"A: b\r\n{field}\r\n\r\n".encode(), junk=True)
            self.assertEqual((task.folder, task.isFolderMade), ("Junk", True), field)
        for head in (b"X-Spam: No\r\n\r\n", b"X-Spam-Status: Yes\r\n\r\n", b"\r\nX-Spam: Yes\r\n", CONTENT):
            self.assertEqual(self.maildir(head=head, junk=True).folder, "lists")
        self.assertEqual(self.maildir(head=SPAM).folder, "lists")

    def test_specifiers(self) -> None:
        task = self.maildir(path="/srv/%{dest.domain:lowercase}/%{user.username[0]}/%{dest.user:strip}")
        self.assertEqual((task.path, task.beneath), ("/srv/example.org/b/bob", "/srv"))

    def test_theHomeThatATableGives(self) -> None:
        for home, start in (("/srv/bo%b", "/srv/bo%b"), ("/", "")):
            self.account = Account("bob", 5000, 5000, home)
            for path, expected, beneath in [
                ("", f"{start}/Maildir", ""),
                ("~/%{dest.domain}", f"{start}/Example.org", home),
                ("~/x/%{dest.domain}", f"{start}/x/Example.org", f"{start}/x"),
                ("/x", "/x", ""),
            ]:
                task = self.maildir(path=path)
                self.assertEqual((task.path, task.beneath), (expected, beneath))

    def test_whatCannotBe(self) -> None:
        self.assertIn("%{dest.user[50]}", self.fault(Action("a", Method.MAILDIR, path="/srv/%{dest.user[50]}")))


class MboxTests(PlanTestCase):
    def test_theSystemsMailbox(self) -> None:
        self.assertEqual(
            self.plan(Action("a", Method.MBOX)),
            MboxTask(
                "/var/mail/bob",
                "From Ann@example.net Thu Jan  1 00:00:00 2026",
                b"Return-Path: <Ann@example.net>\r\nDelivered-To: bob+lists@Example.org\r\n",
                True,
            ),
        )

    def test_noSender(self) -> None:
        self.sender = NULL_PATH
        task = self.plan(Action("a", Method.MBOX))
        assert isinstance(task, MboxTask)
        self.assertTrue(task.fromLine.startswith("From MAILER-DAEMON Thu "))
        self.assertTrue(task.prefix.startswith(b"Return-Path: <>\r\n"))

    def test_aSenderWithSpaces(self) -> None:
        self.sender = Path("a b\u2028c", "example.net")
        task = self.plan(Action("a", Method.MBOX))
        assert isinstance(task, MboxTask)
        self.assertTrue(task.fromLine.startswith('From "a_b_c"@example.net Thu '))

    def test_aFile(self) -> None:
        """Whatever the action does."""
        for action in (Action("a", Method.MAILDIR), Action("a", Method.MDA), Action("a", Method.EXPAND_ONLY)):
            task = self.plan(action, file="/home/bob/%{x} mail")
            assert isinstance(task, MboxTask)
            self.assertEqual((task.path, task.isSystem), ("/home/bob/%{x} mail", False))

    def test_nowhere(self) -> None:
        self.assertIsNone(self.plan(Action("a", Method.MAILDIR), file="/dev/null"))

    def test_noName(self) -> None:
        for user in ("", "../x", ".x"):
            self.fault(Action("a", Method.MBOX), user=user)


class CommandTests(PlanTestCase):
    def test_words(self) -> None:
        task = self.command(Action("a", Method.MDA, command=Command(("/bin/x", "-f%{sender}", "%{dest.user:strip}"))))
        self.assertEqual(task.argv, ("/bin/x", "-fAnn@example.net", "bob"))
        self.assertEqual((task.directory, task.limit), ("/home/bob", 7.0))
        self.assertTrue(task.prefix.startswith(b"Return-Path: <Ann@example.net>\r\nDelivered-To: bob+lists@"))

    def test_environment(self) -> None:
        task = self.command(Action("a", Method.MDA, command=Command(("x",))))
        self.assertEqual(
            task.environment,
            {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "SHELL": "/bin/sh",
                "HOME": "/home/bob",
                "USER": "bob",
                "LOGNAME": "bob",
                "SENDER": "Ann@example.net",
                "RECIPIENT": "bob+lists@Example.org",
                "ORIGINAL_RECIPIENT": "info@example.com",
                "DOMAIN": "example.com",
                "LOCAL": "info",
                "EXTENSION": "lists",
            },
        )
        task = self.command(Action("a", Method.MDA, command=Command(("x",))), recipient="bob")
        self.assertNotIn("EXTENSION", task.environment)

    def test_noOptions(self) -> None:
        action = Action("a", Method.MDA, command=Command(("/bin/x", "%{dest.user}")))
        self.assertIn("option", self.fault(action, recipient="-rf"))

    def test_shell(self) -> None:
        text = 'x "$SENDER" | y 100%'
        task = self.command(Action("a", Method.MDA, command=Command((), text)))
        self.assertEqual(task.argv, ("/bin/sh", "-c", text))

    def test_wrapper(self) -> None:
        wrappers = {"w": Command(("/bin/w", "%{sender}", "%{mda}", "end"))}
        action = Action("a", Method.MDA, command=Command(("/bin/x", "a b")), wrapper="w")
        self.assertEqual(
            self.command(action, wrappers=wrappers).argv, ("/bin/w", "Ann@example.net", "/bin/x", "a b", "end")
        )
        self.assertIn('"w"', self.fault(action))

    def test_aWrapperAroundAMailbox(self) -> None:
        """Our own program stands for the method."""
        wrappers = {"w": Command(("/bin/w", "%{mda}"))}
        maildir = Action("a", Method.MAILDIR, path="/srv/50%%/%{dest.user:strip}", wrapper="w", junk=True)
        self.assertEqual(
            self.command(maildir, wrappers=wrappers, head=SPAM).argv[:4],
            ("/bin/w", "maildir", "/srv/50%/bob", "1700000000.E000000000000000100000000.mx"),
        )
        self.assertEqual(self.command(maildir, wrappers=wrappers, head=SPAM).argv[4:], ("/srv/50%", "Junk", "make"))
        mbox = self.command(Action("a", Method.MBOX, wrapper="w"), wrappers=wrappers)
        self.assertEqual(
            mbox.argv, ("/bin/w", "mbox", "/var/mail/bob", "From Ann@example.net Thu Jan  1 00:00:00 2026")
        )

    def test_aNodesCommand(self) -> None:
        """As the user wrote it; the action's wrapper is not for it."""
        for action in (Action("a", Method.MAILDIR), Action("a", Method.MDA, wrapper="w", command=Command(("x",)))):
            task = self.command(action, command="~/bin/filter -v '%{dest.user}' \"a b\"")
            self.assertEqual(task.argv, ("/home/bob/bin/filter", "-v", "bob+lists", "a b"))

    def test_aNodesCommandThatNeedsAShell(self) -> None:
        said = self.fault(Action("a", Method.MAILDIR), command="a | b")
        self.assertIn("needs a shell", said)
        self.assertIn("\"|/bin/sh -c 'a | b'\"", said)
        for command in ("a %", "a 'b", "sh -c 'x %{sender}'", "a %{nobody}"):
            self.fault(Action("a", Method.MAILDIR), command=command)

    def test_whatIsNoLocalAction(self) -> None:
        for method in (Method.RELAY, Method.LMTP, Method.EXPAND_ONLY, Method.FORWARD_ONLY):
            self.fault(Action("a", method))

    def test_whenTheHomeMustBeKnown(self) -> None:
        destination = delivery(1, "bob").envelopes[0].destination
        config = Config("f", "mx")
        for action, needed in [
            (Action("a", Method.MAILDIR), False),
            (Action("a", Method.MAILDIR, path="/x/%{user.username}"), False),
            (Action("a", Method.MAILDIR, path="%{user.directory}/%{dest}"), True),
            (Action("a", Method.MBOX), False),
            (Action("a", Method.MDA), True),
        ]:
            self.assertEqual(needsHome(config, action, destination), needed)
        self.assertTrue(needsHome(config, Action("a", Method.MAILDIR), replace(destination, command="x")))
        self.assertFalse(needsHome(config, Action("a", Method.MDA), replace(destination, file="/x")))
