"""From MAIL to the end of data: who gets it, and the content on its way to the queue."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pysmtpd.interfaces import IBodyPipe, ISubmission, ISubmit, QueueError, Ready
from pysmtpd.listen.fixing import Fixing, FixingPipe
from pysmtpd.listen.loops import HeaderWatch
from pysmtpd.listen.trace import PLAIN_STYLE, TraceStyle, received
from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Agent, Destination, Message, Notify
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.reply import Reply

LOOP = Reply(554, "Routing loop detected", "5.4.6")

Complain = Callable[[Failure], object]


class OpenTransaction:
    """One mail transaction of a session.

    Begins with an accepted MAIL; its submission begins with DATA and is ended exactly once, by C{commit} or C{rollback}.

    @ivar facts: what MAIL said.
    @ivar accepted: RCPT commands that were accepted.
    @ivar recipient: the address of the first of them.
    @ivar envelopes: what the submission was given, once it has begun.
    @ivar refusal: the reply to the end of data, once it is known that the message cannot be taken; content is then dropped.
    @ivar reason: why, for the log.
    @ivar until: monotonic time when the content has to be complete.
    """

    __slots__ = (
        "_abandoned",
        "_complain",
        "_counter",
        "_destinations",
        "_isTlsOptional",
        "_maxReceived",
        "_pipe",
        "_submission",
        "_writing",
        "accepted",
        "envelopes",
        "facts",
        "reason",
        "recipient",
        "refusal",
        "until",
    )

    def __init__(self, facts: Transaction, maxReceived: int, complain: Complain) -> None:
        """
        @param complain: called with failures that nobody waits for.
        """
        self.facts = facts
        self.accepted = 0
        self.recipient: Path | None = None
        self.refusal: Reply | None = None
        self.reason = ""
        self.until = 0.0
        self._maxReceived = maxReceived
        self._complain = complain
        self._destinations: dict[tuple[object, ...], Destination] = {}
        self._submission: ISubmission | None = None
        self._counter: HeaderWatch | None = None
        self._pipe: IBodyPipe | None = None
        self._writing = False
        self._abandoned = False
        self._isTlsOptional = False
        self.envelopes: list[tuple[EnvelopeId, Destination]] = []

    def addRecipient(self, path: Path, destinations: tuple[Destination, ...], notify: Notify, orcpt: str) -> None:
        """An accepted RCPT. Of destinations that lead to the same place by the same action, the first that wants to hear of it stays, and
        hears what any of them wants."""
        self.accepted += 1
        if self.recipient is None:
            self.recipient = path
        if notify and len(destinations) > 1:
            notify = notify.ofCopies
        known = self._destinations
        for destination in destinations:
            if notify or orcpt:
                destination = destination.withParameters(notify, orcpt)
            to = destination.recipient
            # Only the system that delivers may know that case does not matter (RFC 5321 2.4).
            local = to.local if destination.agent is Agent.MTA else to.local.lower()
            key = (
                destination.action,
                destination.user,
                local,
                to.domain.lower(),
                destination.command,
                destination.file,
            )
            first = known.setdefault(key, destination)
            if first.notify is not destination.notify:
                stays = destination if first.notify is Notify.NEVER else first
                known[key] = stays.withParameters(first.notify.asWell(destination.notify), stays.orcpt)

    def begin(
        self, submit: ISubmit, pipe: IBodyPipe | None, until: float, fixing: Callable[[MessageId], Fixing] | None = None
    ) -> None:
        """DATA was accepted: open the submission.

        @param fixing: the message is completed as this says, before C{pipe} sees it; None: it stays as it comes.
        """
        self.until = until
        submission = self._submission = submit.begin(self.facts)
        self._pipe = pipe if fixing is None else FixingPipe(fixing(submission.id), pipe)
        self._counter = HeaderWatch()
        self.envelopes = [
            (submission.recipient(destination), destination) for destination in self._destinations.values()
        ]

    def write(self, chunk: bytes) -> Deferred[object] | None:
        """Take content. A Deferred means: full, wait for it; it fails only for faults (of a filter, of ours)."""
        if self._submission is None:
            return None
        counter = self._counter
        if counter is not None:
            counter.feed(chunk)
            if counter.count >= self._maxReceived:
                self.refuse(LOOP, f"{counter.count} Received fields")
                return None
            if not counter.inHeader:
                self._isTlsOptional = counter.isTlsOptional
                self._counter = None
        if self._pipe is not None:
            return self._hold(self._pipe.write(chunk))
        return self._store(chunk)

    def finish(self) -> Deferred[object] | None:
        """The content is complete: drain the filters. Answers as C{write} does."""
        pipe, self._pipe = self._pipe, None
        if pipe is None or self._submission is None:
            return None
        return self._hold(pipe.finish())

    def commit(self, seconds: float, style: TraceStyle = PLAIN_STYLE) -> tuple[Deferred[Message], bytes]:
        """
        @param seconds: wall-clock time, for the trace field.
        @param style: what it shows.
        @return: what C{ISubmission.commit} answers, and the trace field.
        """
        submission = self._submission
        assert submission is not None
        self._submission = None
        single = self.recipient if self.accepted == 1 else None
        prefix = received(self.facts, submission.id, single, seconds, style)
        # Of a message that is all header, the counter still knows.
        isTlsOptional = self._isTlsOptional if self._counter is None else self._counter.isTlsOptional
        return submission.commit(prefix, (), isTlsOptional), prefix

    def refuse(self, reply: Reply, reason: str) -> None:
        """The message will not be taken: forget its content now, and answer C{reply} when its end is reached."""
        self.refusal = reply
        self.reason = reason
        self.rollback()

    def rollback(self) -> None:
        """Forget the content, if there is any. Waits for a write that is under way."""
        if self._writing:
            self._abandoned = True
            return
        submission, self._submission = self._submission, None
        if submission is not None:
            submission.rollback().addErrback(self._complain)

    def _hold(self, ready: Ready[bytes]) -> Deferred[object] | None:
        """Store what a filter gave, now or when it comes."""
        if not isinstance(ready, Deferred):
            return self._store(ready)
        self._writing = True
        stored: Deferred[object] = ready.addCallback(self._stored)
        return stored.addBoth(self._written)

    def _stored(self, chunk: bytes) -> Deferred[object] | None:
        return None if self._abandoned else self._store(chunk)

    def _store(self, chunk: bytes) -> Deferred[object] | None:
        submission = self._submission
        if not chunk or submission is None:
            return None
        try:
            answer: Ready[None] = submission.write(chunk)
        except QueueError as error:
            self.refuse(error.reply, error.reason)
            return None
        if not isinstance(answer, Deferred):
            return None
        self._writing = True
        written: Deferred[object] = answer.addErrback(self._writeFailed)
        return written.addBoth(self._written)

    def _writeFailed(self, failure: Failure) -> None:
        self._abandoned = True
        error = failure.value
        if not isinstance(error, QueueError):
            failure.raiseException()
        else:
            self.refusal, self.reason = error.reply, error.reason

    def _written(self, result: object) -> object:
        self._writing = False
        if self._abandoned:
            self.rollback()
        return result
