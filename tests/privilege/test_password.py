"""Passwords of the system: the helper's verb, and what its child answers."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.interfaces import HelperFailed
from pysmtpd.privilege import password, wire
from pysmtpd.privilege.client import Helper


def asked(question: dict[str, Any], check: Callable[[str, bytes, str], bool]) -> dict[str, Any] | None:
    """What a child answers."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, question)
        password.serve(theirs, check)
        theirs.close()
        answer = wire.receive(ours)
        return None if answer is None else answer[0]


class ChildTests(SynchronousTestCase):
    def tearDown(self) -> None:
        # The child's own end.
        signal.alarm(0)

    def test_answers(self) -> None:
        def check(user: str, secret: bytes, peer: str) -> bool:
            return (user, secret, peer) == ("anna", b"s\xffcret", "192.0.2.7")

        question = {"user": "anna", "password": "c/9jcmV0", "peer": "192.0.2.7"}
        self.assertEqual(asked(question, check), {"isRight": True})
        self.assertEqual(asked(question | {"user": "bert"}, check), {"isRight": False})

    def test_trouble(self) -> None:
        def check(user: str, secret: bytes, peer: str) -> bool:
            raise password.Trouble("the directory does not answer")

        question = {"user": "anna", "password": "c2VjcmV0", "peer": ""}
        self.assertEqual(asked(question, check), {"trouble": "the directory does not answer"})

    def test_rubbish(self) -> None:
        def check(user: str, secret: bytes, peer: str) -> bool:
            raise AssertionError("nothing is to be asked")

        questions: tuple[dict[str, Any], ...] = (
            {},
            {"user": "anna"},
            {"user": "a", "password": 5, "peer": ""},
            {"user": "a", "password": "%", "peer": ""},
        )
        for question in questions:
            answer = asked(question, check)
            assert answer is not None
            self.assertEqual(list(answer), ["trouble"])

    def test_whatIsNeverAsked(self) -> None:
        """No empty or odd password reaches PAM, nor does root's."""
        root = pwd.getpwuid(0).pw_name
        for user, secret in (
            (root, b"x"),
            ("", b"x"),
            ("a\0b", b"x"),
            ("a" * 300, b"x"),
            ("anna", b""),
            ("anna", b"a\0b"),
        ):
            self.assertFalse(password.isRight(user, secret, ""))


class VerbTests(SynchronousTestCase):
    def helper(self, passwords: bool) -> Helper:
        helper = Helper(MemoryReactor())
        helper.start([], {}, passwords)

        def end() -> None:
            helper.stop()
            assert helper._process is not None
            helper._process.wait(20)

        self.addCleanup(end)
        return helper

    def test_onlyWhereTheConfigurationAsks(self) -> None:
        self.assertRaisesRegex(HelperFailed, "no listener", self.helper(False)._checkPassword, "anna", b"x", "")

    def test_nobody(self) -> None:
        if password.missing():
            raise SkipTest(password.missing())
        helper = self.helper(True)
        try:
            self.assertFalse(helper._checkPassword("there-is-no-such-user", b"x", "192.0.2.7"))
        except HelperFailed as error:
            # A system where PAM is not set up for us, or where only root may ask.
            self.assertIn("PAM", str(error))

    def test_severalAtOnce(self) -> None:
        """Each has a child of its own; there are only so many, and they are counted when they end."""
        helper = self.helper(True)
        children = [socket.socket(fileno=helper._ask("password")) for _ in range(password.MAX_CHECKS)]
        self.assertRaisesRegex(HelperFailed, "too many", helper._ask, "password")
        for child in children:
            child.close()
        again = threading.Event()
        for _ in range(500):
            try:
                os.close(helper._ask("password"))
                again.set()
                break
            except HelperFailed:
                again.wait(0.01)
        self.assertTrue(again.is_set())
