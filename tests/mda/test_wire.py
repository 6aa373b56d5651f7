"""What daemon and delivery host say to each other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mda.wire import (
    Answer,
    Frame,
    Kind,
    Status,
    asExit,
    exited,
    packAnswer,
    packFrame,
    takeAnswers,
    takeFrames,
)
from pysmtpd.model.task import CommandTask, Exit, MaildirTask, MboxTask

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
OCTETS = st.binary(max_size=50)
TASKS = st.one_of(
    st.builds(MaildirTask, TEXT, TEXT, OCTETS, TEXT),
    st.builds(MaildirTask, TEXT, TEXT, OCTETS, TEXT, TEXT.filter(bool), st.booleans()),
    st.builds(MboxTask, TEXT, TEXT, OCTETS, st.booleans()),
    st.builds(
        CommandTask,
        st.lists(TEXT, min_size=1).map(tuple),
        st.dictionaries(TEXT, TEXT),
        TEXT,
        st.floats(0, 1000),
        OCTETS,
    ),
)
NUMBERS = st.integers(0, 2**32 - 1)
FRAMES = st.lists(
    st.one_of(
        st.builds(Frame, NUMBERS, st.sampled_from((Kind.WHOLE, Kind.BEGIN)), TASKS, OCTETS),
        st.builds(Frame, NUMBERS, st.sampled_from((Kind.PIECE, Kind.END, Kind.ABORT, Kind.STOP)), st.none(), OCTETS),
    )
)
ANSWERS = st.lists(st.builds(Answer, NUMBERS, st.sampled_from(Status), st.integers(0, 200), TEXT))


class WireTests(SynchronousTestCase):
    @given(FRAMES, st.integers(1, 40))
    @settings(max_examples=60, deadline=None)
    def test_framesInAnySegments(self, frames: list[Frame], step: int) -> None:
        octets = b"".join(map(packFrame, frames))
        buffer, found = bytearray(), []
        for at in range(0, len(octets), step):
            buffer += octets[at : at + step]
            found += takeFrames(buffer)
        self.assertEqual(found, frames)
        self.assertEqual(buffer, b"")

    @given(ANSWERS, st.integers(1, 40))
    @settings(max_examples=60, deadline=None)
    def test_answersInAnySegments(self, answers: list[Answer], step: int) -> None:
        octets = b"".join(map(packAnswer, answers))
        buffer, found = bytearray(), []
        for at in range(0, len(octets), step):
            buffer += octets[at : at + step]
            found += takeAnswers(buffer)
        self.assertEqual(found, answers)

    @given(st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_anyOctets(self, octets: bytes) -> None:
        """Rubbish is waited for or refused, nothing else."""
        for take in (takeFrames, takeAnswers):
            try:
                take(bytearray(octets))
            except ValueError:
                continue

    def test_lengthsAreBounded(self) -> None:
        """Nobody can make the other side wait for more than it would take."""
        for field in range(3):
            sizes = [b"\0\0\0\1"] * 3
            sizes[field] = b"\xff\xff\xff\xff"
            self.assertRaises(ValueError, takeFrames, bytearray(b"\0\0\0\1\1" + b"".join(sizes)))
        self.assertRaises(ValueError, takeAnswers, bytearray(b"\0\0\0\1\1\0\0\xff\xff"))
        self.assertRaises(ValueError, packFrame, Frame(1, Kind.WHOLE, MboxTask("x" * 70_000, "")))
        self.assertEqual(len(takeAnswers(bytearray(packAnswer(Answer(1, Status.FAILED, 5, "x" * 9000))))[0].text), 8192)

    def test_howACommandEnds(self) -> None:
        for exit in (Exit(), Exit(75, 0, False, "", "no room"), Exit(0, 9, True, "x", "y")):
            self.assertEqual(asExit(takeAnswers(bytearray(packAnswer(exited(7, exit))))[0]), exit)
        for text in ("", "{}", "[1]", '["0", 0, false, "", ""]'):
            self.assertRaises(ValueError, asExit, Answer(1, Status.EXITED, 0, text))
