"""Requests and answers between the daemon and its root helper."""

from __future__ import annotations

import os
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.privilege.wire import MAX_FRAME, WireError, receive, send

VALUES = st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)))


def openDescriptors() -> int:
    return len(os.listdir("/dev/fd"))


class WireTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here, self.there = socket.socketpair()
        self.there.settimeout(10)
        self.addCleanup(self.here.close)
        self.addCleanup(self.there.close)

    @given(VALUES)
    @settings(max_examples=50, deadline=None)
    def test_values(self, values: dict[str, Any]) -> None:
        send(self.here, values)
        self.assertEqual(receive(self.there), (values, None))

    def test_descriptor(self) -> None:
        reading, writing = os.pipe()
        send(self.here, {"a": 1}, writing)
        os.close(writing)
        answer = receive(self.there)
        assert answer is not None and answer[1] is not None
        self.assertEqual(answer[0], {"a": 1})
        self.assertFalse(os.get_inheritable(answer[1]))
        os.write(answer[1], b"x")
        self.assertEqual(os.read(reading, 1), b"x")
        os.close(answer[1])
        os.close(reading)

    def test_hungUp(self) -> None:
        self.here.close()
        self.assertIsNone(receive(self.there))

    def test_severalDescriptors(self) -> None:
        """They are closed, not kept."""
        before = openDescriptors()
        socket.send_fds(self.here, [b"\0"], [0, 1])
        self.assertRaises(WireError, receive, self.there)
        socket.send_fds(self.here, [b"\0"], [0] * 100)
        self.assertRaises(WireError, receive, self.there)
        self.assertEqual(openDescriptors(), before)

    def test_aDescriptorOfABadFrameIsClosed(self) -> None:
        before = openDescriptors()
        socket.send_fds(self.here, [b"\0\0\0\2xx"], [0])
        self.assertRaises(WireError, receive, self.there)
        self.assertEqual(openDescriptors(), before)

    def refused(self, octets: bytes) -> None:
        here, there = socket.socketpair()
        with here, there:
            here.sendall(octets)
            here.shutdown(socket.SHUT_WR)
            self.assertRaises(WireError, receive, there)

    def test_rubbish(self) -> None:
        self.refused((MAX_FRAME + 1).to_bytes(4, "big"))
        self.refused(b"\0\0\0\2[]")
        self.refused(b"\0\0\0\3xyz")
        self.refused(b"\0\0\0\5{}")
        self.refused(b"\0\0")
        self.refused(b"\0\0\x27\x10" + b"[" * 10_000)
        self.refused(b"\0\0\x27\x10" + b"1" * 10_000)

    @given(st.binary(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_anyOctets(self, octets: bytes) -> None:
        here, there = socket.socketpair()
        with here, there:
            here.sendall(octets)
            here.shutdown(socket.SHUT_WR)
            try:
                while receive(there) is not None:
                    pass
            except WireError:
                return
