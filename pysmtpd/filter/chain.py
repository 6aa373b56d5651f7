"""Several filters as one."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces import PROCEED, IBodyPipe, IFilter, Phase, Ready, Verdict
from pysmtpd.model.facts import SessionFacts, Transaction


def chain(filters: Sequence[IFilter]) -> IFilter | None:
    """One filter that asks all of them in turn. None: there are none, and nothing need be asked."""
    if not filters:
        return None
    return filters[0] if len(filters) == 1 else FilterChain(filters)


@implementer(IFilter)
class FilterChain:
    """Each filter sees what the ones before it have made of the value; the first refusal is the answer."""

    def __init__(self, filters: Sequence[IFilter]) -> None:
        self._filters = tuple(filters)

    def ask(self, phase: Phase, value: str, facts: SessionFacts, transaction: Transaction | None) -> Ready[Verdict]:
        return self._askFrom(0, PROCEED, phase, value, facts, transaction)

    def _askFrom(
        self,
        index: int,
        verdict: Verdict,
        phase: Phase,
        value: str,
        facts: SessionFacts,
        transaction: Transaction | None,
    ) -> Ready[Verdict]:
        for position in range(index, len(self._filters)):
            answer = self._filters[position].ask(phase, value, facts, transaction)
            if isinstance(answer, Deferred):
                waiting: Deferred[Verdict] = answer.addCallback(
                    self._answered, position, verdict, phase, value, facts, transaction
                )
                return waiting
            if answer.reply is not None or answer.disconnect:
                return answer
            if answer.rewritten is not None:
                verdict, value = answer, answer.rewritten
        return verdict

    def _answered(
        self,
        answer: Verdict,
        position: int,
        verdict: Verdict,
        phase: Phase,
        value: str,
        facts: SessionFacts,
        transaction: Transaction | None,
    ) -> Ready[Verdict]:
        if answer.reply is not None or answer.disconnect:
            return answer
        if answer.rewritten is not None:
            verdict, value = answer, answer.rewritten
        return self._askFrom(position + 1, verdict, phase, value, facts, transaction)

    def pipe(self, facts: SessionFacts, transaction: Transaction) -> IBodyPipe | None:
        pipes = [pipe for each in self._filters if (pipe := each.pipe(facts, transaction)) is not None]
        if not pipes:
            return None
        return pipes[0] if len(pipes) == 1 else PipeChain(pipes)


@implementer(IBodyPipe)
class PipeChain:
    """The content runs through every stage in turn."""

    def __init__(self, pipes: Sequence[IBodyPipe]) -> None:
        self._pipes = tuple(pipes)

    def write(self, chunk: bytes) -> Ready[bytes]:
        return self._writeFrom(0, chunk)

    def finish(self) -> Ready[bytes]:
        return self._finishFrom(0, b"")

    def _writeFrom(self, index: int, chunk: bytes) -> Ready[bytes]:
        for position in range(index, len(self._pipes)):
            if not chunk:
                return b""
            answer = self._pipes[position].write(chunk)
            if isinstance(answer, Deferred):
                return answer.addCallback(self._written, position + 1)
            chunk = answer
        return chunk

    def _written(self, chunk: bytes, index: int) -> Ready[bytes]:
        return self._writeFrom(index, chunk)

    def _finishFrom(self, index: int, rest: bytes) -> Ready[bytes]:
        """Finish the stages from C{index} on; C{rest} is what the one before gave last."""
        if index == len(self._pipes):
            return rest
        written = self._pipes[index].write(rest) if rest else b""
        if isinstance(written, Deferred):
            return written.addCallback(lambda chunk: self._finishStage(index, chunk))
        return self._finishStage(index, written)

    def _finishStage(self, index: int, written: bytes) -> Ready[bytes]:
        last = self._pipes[index].finish()
        if isinstance(last, Deferred):
            return last.addCallback(lambda chunk: self._finishFrom(index + 1, written + chunk))
        return self._finishFrom(index + 1, written + last)
