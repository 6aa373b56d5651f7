"""The stages of a client's session follow each other as the table says that docs/delivery.md draws."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_events import ClientSettings, Credentials, OutgoingMail, OutgoingRcpt, Stage, StartTls
from pysmtpd.smtp.client_stages import STAGE_TURNS

# What fits: the rest is for those who do not keep to it.
USUAL = {
    Stage.GREETING: (b"220 hello\r\n",),
    Stage.HELLO: (
        b"250-x\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-AUTH LOGIN PLAIN\r\n250 CHUNKING\r\n",
        b"250-x\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n",
        b"250-x\r\n250-STARTTLS\r\n250 AUTH LOGIN\r\n",
        b"250 x\r\n",
    ),
    Stage.STARTTLS: (b"220 go\r\n", b"502 no\r\n"),
    Stage.AUTH: (b"334 \r\n", b"235 in\r\n"),
    Stage.MAIL: (b"250 ok\r\n", b"550 no\r\n"),
    Stage.RCPT: (b"250 ok\r\n", b"550 no\r\n"),
    Stage.DATA: (b"354 go\r\n", b"554 no\r\n"),
    Stage.END_OF_DATA: (b"250 ok\r\n", b"450 later\r\n"),
}
REPLIES = (
    *(b"220 hello\r\n", b"250 ok\r\n", b"354 go\r\n", b"334 \r\n", b"235 in\r\n"),
    *(b"421 bye\r\n", b"450 later\r\n", b"550 no\r\n", b"what?\r\n"),
)
CONTENT = b"Subject: x\r\n\r\nBody.\r\n"


class Observed(ClientCore):
    """Writes down each change of its stage."""

    __slots__ = ("_stage", "seen")

    def __init__(self, settings: ClientSettings) -> None:
        self.seen: list[tuple[Stage, Stage]] = []
        super().__init__(settings)

    @property
    def stage(self) -> Stage:
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        last = getattr(self, "_stage", stage)
        if last is not stage:
            self.seen.append((last, stage))
        self._stage = stage


def session(random: Random) -> Observed:
    """A session with somebody who says anything, most of the time something that fits."""
    settings = ClientSettings(
        "me.test",
        random.random() < 0.2,
        random.choice(list(StartTls)),
        random.random() < 0.3,
        Credentials("ann", b"secret") if random.random() < 0.4 else None,
    )
    core = Observed(settings)
    for _ in range(40):
        stage, chance = core.stage, random.random()
        if stage is Stage.CLOSED:
            break
        if chance < 0.02:
            core.abort(Reply(451, "lost", "4.4.2"))
        elif stage is Stage.TLS and chance < 0.9:
            core.tlsStarted()
        elif stage is Stage.IDLE and chance < 0.15:
            core.quit()
        elif stage is Stage.IDLE and chance < 0.95:
            recipients = [OutgoingRcpt(f"b{number}@y.test") for number in range(random.choice([1, 2]))]
            mail = OutgoingMail("a@x.test", recipients, len(CONTENT), random.choice(["", "BINARYMIME"]))
            core.start(mail, CONTENT if random.random() < 0.5 else None)
        elif stage is Stage.CONTENT and chance < 0.9:
            core.content(CONTENT, True)
        else:
            core.receive(random.choice(USUAL.get(stage, REPLIES) if random.random() < 0.9 else REPLIES))
        core.output()
    return core


class StageTests(SynchronousTestCase):
    def test_turns(self) -> None:
        """What happens is in the table, or is the end, which may come at any time; and all of the table happens."""
        told = {(stage, then) for stage, after in STAGE_TURNS.items() for then in after}
        ends = {(stage, Stage.CLOSED) for stage in Stage if stage is not Stage.CLOSED}
        seen: set[tuple[Stage, Stage]] = set()
        for seed in range(4000):
            seen |= set(session(Random(seed)).seen)
        self.assertEqual(seen, told | ends)
        self.assertEqual(set(STAGE_TURNS), set(Stage))
