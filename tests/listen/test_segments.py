"""However a dialogue is cut into segments, the client hears the same and the queue is given the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.listen.fakes import House

DIALOGUE = (
    b"EHLO client.example.org\r\nMAIL FROM:<anna@example.org> SIZE=100\r\nRCPT TO:<bert@example.org>\r\n"
    b"RCPT TO:<>\r\nDATA\r\nReceived: x\r\nSubject: y\r\n\r\nHello\r\n..\r\n.\r\nMAIL FROM:<>\r\n"
    b"RCPT TO:<carl@example.org>\r\nBDAT 12\r\nSubject: z\r\nBDAT 9 LAST\r\n\r\nHello\r\nRSET\r\nNOOP\r\nQUIT\r\n"
)


def run(cuts: list[int], slowWrites: bool, slowCommits: bool, delay: float) -> tuple[str, list[bytes]]:
    house = House()
    house.submit.slowWrites = slowWrites
    house.submit.slowCommits = slowCommits
    house.router.delay = delay
    peer = house.connect()
    heard = peer.hear()
    edges = sorted({0, len(DIALOGUE), *cuts})
    for start, end in pairwise(edges):
        heard += peer.say(DIALOGUE[start:end])
    for _ in range(50):
        while house.submit.writes:
            house.submit.writes.pop(0).callback(None)
        while house.submit.commits:
            house.submit.commits.pop(0)()
        house.clock.advance(delay)
        heard += peer.hear()
        if peer.isClosed:
            break
    assert peer.isClosed
    return heard, [each.prefix + each.content for each in house.submit.accepted]


class SegmentTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(
        cuts=st.lists(st.integers(0, len(DIALOGUE)), max_size=30),
        slowWrites=st.booleans(),
        slowCommits=st.booleans(),
        delay=st.sampled_from([0.0, 0.05]),
    )
    def test_same(self, cuts: list[int], slowWrites: bool, slowCommits: bool, delay: float) -> None:
        heard, accepted = run(cuts, slowWrites, slowCommits, delay)
        expected, content = run([], False, False, 0.0)
        self.assertEqual(heard, expected)
        self.assertEqual(
            [each.partition(b";\r\n")[0] for each in accepted], [each.partition(b";\r\n")[0] for each in content]
        )
        self.assertEqual(
            [each.partition(b"+0000")[2] for each in accepted], [each.partition(b"+0000")[2] for each in content]
        )

    def test_what(self) -> None:
        heard, accepted = run([], False, False, 0.0)
        codes = [line[:3] for line in heard.splitlines() if line[3:4] == " "]
        self.assertEqual(
            codes,
            ["220", "250", "250", "250", "501", "354", "250", "250", "250", "250", "250", "250", "250", "221"],
        )
        self.assertTrue(accepted[0].endswith(b"\r\nReceived: x\r\nSubject: y\r\n\r\nHello\r\n.\r\n"))
        self.assertTrue(accepted[1].endswith(b"\r\nSubject: z\r\n\r\nHello\r\n"))
