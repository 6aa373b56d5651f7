"""Every dialogue in C{tests/dialogues}, in one piece, octet by octet, and cut at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.testing.dialogue import Dialogue, DialogueError, Segmentation, octetByOctet, parseDialogue, replay, whole

DIALOGUES = Path(__file__).resolve().parent.parent / "dialogues"


def cutBy(random: Random) -> Segmentation:
    def cut(octets: bytes) -> Sequence[bytes]:
        segments = []
        while octets:
            length = random.choice((1, 2, 3, 7, 50, 1000, 50_000))
            segments.append(octets[:length])
            octets = octets[length:]
        return segments

    return cut


class DialogueTests(SynchronousTestCase):
    def dialogues(self) -> list[Dialogue]:
        found = [parseDialogue(path.name, path.read_text("utf-8")) for path in sorted(DIALOGUES.glob("*.smtp"))]
        self.assertGreater(len(found), 25)
        return found

    def assertReplays(self, segmentation: Segmentation) -> None:
        differences = [text for dialogue in self.dialogues() for text in replay(dialogue, segmentation)]
        self.assertEqual(differences, [])

    def test_inOnePiece(self) -> None:
        self.assertReplays(whole)

    def test_octetByOctet(self) -> None:
        self.assertReplays(octetByOctet)

    def test_cutAtRandom(self) -> None:
        for seed in range(5):
            self.assertReplays(cutBy(Random(seed)))


class RunnerTests(SynchronousTestCase):
    """The runner tells differences, and where a file is wrong."""

    def test_aWrongReplyIsTold(self) -> None:
        [difference] = replay(parseDialogue("x", "S: 220 mx.example.org ESMTP\nC: NOOP\nS: 250 2.0.0 No\n"))
        self.assertTrue(difference.startswith("x:3: expected b'250 2.0.0 No"), difference)

    def test_aReplyThatNobodyExpectedIsTold(self) -> None:
        [difference] = replay(parseDialogue("x", "S: 220 mx.example.org ESMTP\nC: NOOP\n"))
        self.assertIn("250 2.0.0 Ok", difference)

    def test_aMissingMessageIsTold(self) -> None:
        [difference] = replay(parseDialogue("x", "S: 220 mx.example.org ESMTP\nM: hello\n"))
        self.assertIn("no message", difference)

    def test_anOpenSessionIsTold(self) -> None:
        [difference] = replay(parseDialogue("x", "S: 220 mx.example.org ESMTP\nCLOSED\n"))
        self.assertIn("x:2", difference)

    def test_whatIsNoDialogueIsRefused(self) -> None:
        for text in ("X: 1", "set colour", "set max-size many", "C! \\q"):
            with self.assertRaisesRegex(DialogueError, "x:2: "):
                parseDialogue("x", f"# a comment\n{text}\n")
