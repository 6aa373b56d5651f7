"""What the end of a connection says of its host."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.reply import Reply
from pysmtpd.mta.ending import Blame, Ending
from pysmtpd.mta.security import Level, Policy
from pysmtpd.smtp.client_events import Stage

FREE = Policy(Level.OPPORTUNISTIC)
STRICT = Policy(Level.VERIFIED, "mx.example.org")
NEVER = Policy(Level.NEVER)

REFUSED = Reply(451, "Connection refused", "4.4.1")
BUSY = Reply(421, "busy", "4.3.2")
LOST = Reply(451, "Connection lost", "4.4.2")
NO_STARTTLS = Reply(451, "TLS is required and the host does not offer STARTTLS", "4.7.4")
NO_MAIL = Reply(521, "no mail", "5.3.2")
WRONG = Reply(535, "wrong password", "5.7.8")


class EndingTests(SynchronousTestCase):
    def test_beforeItStands(self) -> None:
        """What it is, for whom, and what it is while another connection is open."""
        for policy, stage, reply, blame, concerned, beside in (
            (FREE, Stage.GREETING, REFUSED, Blame.USELESS, None, Blame.CROWDED),
            (FREE, Stage.GREETING, BUSY, Blame.USELESS, None, Blame.CROWDED),
            (FREE, Stage.HELLO, Reply(550, "no"), Blame.USELESS, None, Blame.CROWDED),
            (FREE, Stage.AUTH, WRONG, Blame.USELESS, None, Blame.CROWDED),
            (FREE, Stage.TLS, LOST, Blame.TLS, None, Blame.TLS),
            (FREE, Stage.STARTTLS, LOST, Blame.TLS, None, Blame.TLS),
            (FREE, Stage.STARTTLS, BUSY, Blame.USELESS, None, Blame.CROWDED),
            (NEVER, Stage.TLS, LOST, Blame.USELESS, None, Blame.CROWDED),
            (STRICT, Stage.GREETING, BUSY, Blame.USELESS, None, Blame.CROWDED),
            (STRICT, Stage.HELLO, NO_STARTTLS, Blame.USELESS, STRICT, Blame.USELESS),
            (STRICT, Stage.TLS, LOST, Blame.USELESS, STRICT, Blame.USELESS),
            (STRICT, Stage.IDLE, Reply(451, "TLS: not verified", "4.7.5"), Blame.USELESS, STRICT, Blame.USELESS),
            (STRICT, Stage.AUTH, WRONG, Blame.USELESS, STRICT, Blame.CROWDED),
            (STRICT, Stage.HELLO, NO_MAIL, Blame.USELESS, None, Blame.CROWDED),
        ):
            ending = Ending(policy, stage, reply)
            self.assertIs(ending.blame(False, False), blame, ending)
            self.assertIs(ending.blame(True, True), beside, ending)
            self.assertEqual(ending.concerned, concerned, ending)

    def test_afterwards(self) -> None:
        for policy in (FREE, STRICT):
            idle = Ending(policy, Stage.IDLE, BUSY, True)
            self.assertIs(idle.blame(True, False), Blame.NOTHING)
            cut = Ending(policy, Stage.MAIL, BUSY, True, True)
            self.assertIs(cut.blame(True, False), Blame.DROPPED)
            self.assertIsNone(cut.concerned)

    def test_aTicketThatIsTooOld(self) -> None:
        self.assertIs(Ending(STRICT, Stage.TLS, LOST, offersTicket=True).blame(False, False), Blame.NOTHING)
        self.assertIs(Ending(STRICT, Stage.HELLO, LOST, offersTicket=True).blame(False, False), Blame.USELESS)

    def test_takesNoMail(self) -> None:
        for stage, said in ((Stage.GREETING, True), (Stage.HELLO, True), (Stage.AUTH, False), (Stage.MAIL, False)):
            self.assertIs(Ending(FREE, stage, NO_MAIL).takesNoMail, said)
        self.assertFalse(Ending(FREE, Stage.GREETING, BUSY).takesNoMail)
