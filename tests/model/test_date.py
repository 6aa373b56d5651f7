"""Dates of mail are those of the standard library, whatever was formatted before."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.date import formatDate


class DateTests(SynchronousTestCase):
    def test_examples(self) -> None:
        self.assertEqual(formatDate(1_700_000_000.9), "Tue, 14 Nov 2023 22:13:20 +0000")
        self.assertEqual(formatDate(0.0), "Thu, 01 Jan 1970 00:00:00 +0000")
        self.assertEqual(formatDate(951_868_799), "Tue, 29 Feb 2000 23:59:59 +0000")

    @given(st.integers(-62_135_596_800, 253_402_300_799))
    def test_anySecondOfAnyYear(self, seconds: int) -> None:
        self.assertEqual(formatDate(seconds), formatdate(seconds).removesuffix("-0000") + "+0000")
