from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.platform.descriptor import descriptorSink


class DescriptorSinkTests(SynchronousTestCase):
    def test_descriptor(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertEqual(descriptorSink(writing)(b"abc\n"), 4)
        self.assertEqual(os.read(reading, 100), b"abc\n")

    def test_fullPipeThatDoesNotBlock(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        os.set_blocking(writing, False)
        sink = descriptorSink(writing)
        taken = sink(b"x" * 10_000_000)
        self.assertGreater(taken, 0)
        self.assertEqual(sink(b"y"), 0)
        self.assertEqual(len(os.read(reading, taken)), taken)

    def test_brokenPipe(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        self.addCleanup(os.close, writing)
        self.assertRaises(OSError, descriptorSink(writing), b"abc\n")
