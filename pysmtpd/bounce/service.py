"""Telling senders what became of their mail, by the one door."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.bounce.dsn import MAX_CONTENT, MAX_HEADER, Fate, Report, build
from pysmtpd.bounce.senders import Senders
from pysmtpd.interfaces.delivery import IBounce
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.queue import IBody, IQueue, ISubmission, ISubmit, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import answered
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import IRouter
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Destination, Envelope, Message, Notify
from pysmtpd.model.events import EnvelopeBounced, EnvelopeReported
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId

_CHUNK = 65_536
# Code and RFC 3463 status of a reply.
_STATUS = re.compile(r"\d{3} (\d\.\d{1,3}\.\d{1,3}) ")
_HEADER_END = b"\r\n\r\n"


@implementer(IBounce)
class Bouncer:
    """One report for all envelopes of a message that ended together. It takes their place in the queue in one atomic step.

    A warning about envelopes that are late takes nobody's place.
    """

    _log = Logger()

    def __init__(
        self,
        platform: IPlatform,
        submit: ISubmit,
        queue: IQueue,
        router: IRouter,
        config: Callable[[], Config],
        report: IReport,
    ) -> None:
        """
        @param config: gives the newest generation.
        """
        self._platform = platform
        self._submit = submit
        self._queue = queue
        self._router = router
        self._config = config
        self._report = report
        # Of the newest generation that was asked about.
        self._senders: Senders | None = None

    def bounce(self, message: Message, failed: Sequence[Envelope]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._bounce(message, failed))

    def warn(self, message: Message, late: Sequence[Envelope]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._warn(message, late))

    async def _warn(self, message: Message, late: Sequence[Envelope]) -> None:
        told = [envelope for envelope in late if mayWarn(message, envelope)]
        if not told:
            return
        config, transaction, decision = await self._resolve(message)
        if decision.refusal is not None or not decision.destinations:
            # Its bounce will find out, and say so.
            return
        content = await self._build(config, message, [_lateFate(each) for each in told], transaction.smtputf8)
        reported = await self._enter(transaction, decision, content, ())
        sender = str(message.transaction.sender)
        for envelope in told:
            self._reported(envelope, sender, "delayed", reported, envelope.state.lastReply)

    async def _resolve(self, message: Message) -> tuple[Config, Transaction, Decision]:
        """The newest generation, the transaction of a report, and where it goes.

        @raise QueueError: it cannot be told now where the sender's mail goes.
        """
        config = self._config()
        senders = self._senders
        if senders is None or senders.config is not config:
            senders = self._senders = Senders(config, self._platform.clock, self._router)
        transaction = senders.transaction(message)
        decision = await answered(senders.find(message.transaction.sender, transaction))
        refusal = decision.refusal
        if refusal is not None and refusal.isTemporary:
            raise QueueError(refusal, f"the sender cannot be resolved now: {decision.reason}")
        return config, transaction, decision

    async def _bounce(self, message: Message, failed: Sequence[Envelope]) -> None:
        told: list[Envelope] = []
        untold: list[tuple[Envelope, str]] = []
        for envelope in failed:
            why = _silence(message, envelope)
            if why:
                untold.append((envelope, why))
            else:
                told.append(envelope)
        reported: MessageId | None = None
        if told:
            config, transaction, decision = await self._resolve(message)
            refusal = decision.refusal
            if refusal is None and decision.destinations:
                fates = [_fate(envelope) for envelope in told]
                content = await self._build(config, message, fates, transaction.smtputf8)
                # What nobody is told goes in the same step, so that nothing is half done.
                gone = [envelope.id for envelope in failed]
                reported = await self._enter(transaction, decision, content, gone)
            else:
                why = f"no report, the sender is refused: {refusal or decision.reason}"
                untold += [(envelope, why) for envelope in told]
                told = []
        if reported is None:
            await self._queue.delete([envelope.id for envelope in failed])
        sender = str(message.transaction.sender)
        for envelope in told:
            self._happened(envelope, sender, reported or MessageId(0), envelope.state.failed)
        for envelope, why in untold:
            self._happened(envelope, sender, MessageId(0), f"{envelope.state.failed} ({why})")

    async def _build(self, config: Config, message: Message, fates: Sequence[Fate], utf8: bool) -> bytes:
        transaction = message.transaction
        # RFC 3461 4.3: RET is about failures only. RFC 8689 5: what was to be protected is not sent about as a whole.
        isWanted = transaction.ret == "FULL" and any(fate.action == "failed" for fate in fates)
        isFull = isWanted and not transaction.requireTls and message.body.size <= MAX_CONTENT
        original = await self._original(message, isFull)
        now = self._platform.wallTime()
        token = self._platform.secret(16).hex()
        return build(
            Report(
                hostname=config.serverName,
                sender=message.transaction.sender,
                now=now,
                arrived=message.created,
                fates=tuple(fates),
                messageId=f"{token}@{config.serverName}",
                boundary=f"report-{token}",
                original=original,
                isFull=isFull,
                envid=message.transaction.envid,
                utf8=utf8,
            )
        )

    async def _original(self, message: Message, isFull: bool) -> bytes:
        """The content of the message, or its header; what cannot be found any more is empty.

        @raise QueueError: it cannot be read now.
        """
        try:
            body: IBody = await self._queue.open(message.body)
        except NoSuchItem:
            self._log.warn("no content to report for {message:016x}", message=message.id)
            return b""
        content = b""
        bound = MAX_CONTENT if isFull else MAX_HEADER
        try:
            while len(content) < bound and (isFull or _HEADER_END not in content):
                chunk = await answered(body.read())
                if not chunk:
                    break
                content += chunk
        finally:
            body.close()
        if isFull:
            return content
        header, _, _ = content.partition(_HEADER_END)
        if len(header) > bound:
            header = header[:bound].rpartition(b"\r\n")[0]
        return header + b"\r\n"

    async def _enter(
        self, transaction: Transaction, decision: Decision, content: bytes, supersedes: Sequence[EnvelopeId]
    ) -> MessageId:
        refusal = self._submit.admit(len(content))
        if refusal is not None:
            raise QueueError(refusal, f"no room for a bounce: {refusal}")
        submission: ISubmission = self._submit.begin(transaction, isBounce=True)
        try:
            for destination in decision.destinations:
                submission.recipient(destination)
            for at in range(0, len(content), _CHUNK):
                await answered(submission.write(content[at : at + _CHUNK]))
        except Exception:
            await submission.rollback()
            raise
        committed = await submission.commit(b"", supersedes)
        return committed.id

    def _happened(self, envelope: Envelope, sender: str, bounce: MessageId, stat: str) -> None:
        if envelope.state.succeeded:
            # Its delivery was its last word.
            self._reported(envelope, sender, envelope.state.succeeded, bounce, stat)
            return
        to = str(envelope.destination.recipient)
        self._report.happened(EnvelopeBounced(envelope.id, sender, to, bounce, stat))

    def _reported(self, envelope: Envelope, sender: str, action: str, report: MessageId, stat: str) -> None:
        to = str(envelope.destination.recipient)
        self._report.happened(EnvelopeReported(envelope.id, sender, to, action, report, stat))


def mayWarn(message: Message, envelope: Envelope) -> bool:
    """May the sender be told that an envelope is late (RFC 3461 4.1)?"""
    notify = envelope.destination.notify
    wanted = not notify or bool(notify & Notify.DELAY)
    return wanted and not (message.transaction.sender.isNull or message.isBounce)


def _silence(message: Message, envelope: Envelope) -> str:
    """Why nobody may be told of this end; empty: the sender is to be told."""
    if message.transaction.sender.isNull or message.isBounce:
        return "no report, the sender is <>"
    notify = envelope.destination.notify
    if notify is Notify.UNSET:
        return "no report, by NOTIFY" if envelope.state.succeeded else ""
    if envelope.state.succeeded:
        return "" if notify & Notify.SUCCESS else "no report, by NOTIFY"
    return "" if notify & Notify.FAILURE and not notify & Notify.NEVER else "no report, by NOTIFY"


def _fate(envelope: Envelope) -> Fate:
    state, destination = envelope.state, envelope.destination
    last = state.attempts[-1] if state.attempts else None
    # An expired envelope's failure is in our words, even if the attempt before was answered by a peer.
    isWhole = last is None or (last.reply == state.failed and last.times == 1 and len(state.attempts) == 1)
    remote = last.host if last is not None and last.reply == state.failed else ""
    return Fate(
        recipient=destination.recipient,
        address=destination.original,
        status=state.failedStatus,
        words=state.failed,
        orcpt=destination.orcpt,
        remote=remote,
        attempted=state.lastTry,
        action=state.succeeded or "failed",
        attempts=() if isWhole else state.attempts,
        via=_via(destination),
    )


def _lateFate(envelope: Envelope) -> Fate:
    state, destination = envelope.state, envelope.destination
    last = state.attempts[-1] if state.attempts else None
    status = _STATUS.match(state.lastReply)
    return Fate(
        recipient=destination.recipient,
        address=destination.original,
        status=status[1] if status else "4.0.0",
        words=state.lastReply,
        orcpt=destination.orcpt,
        remote=last.host if last is not None else "",
        attempted=state.lastTry,
        action="delayed",
        retryUntil=envelope.expires,
        via=_via(destination),
    )


def _via(destination: Destination) -> tuple[str, ...]:
    """What a sender may read of an expansion: addresses and users, but neither files of this machine nor what commands it runs."""
    if not destination.via:
        return ()
    names: list[str] = []
    for node, _ in destination.via:
        if node.startswith("|"):
            names.append("a command")
        elif node.startswith("/"):
            names.append("a mailbox file")
        elif not node.startswith(":include:") and node.lower() != destination.original.key:
            names.append(node)
    # The last one is told anyway.
    return tuple(names[:-1] if names[-1:] == [str(destination.recipient)] else names)
