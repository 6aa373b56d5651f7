"""Commands and files that nodes of an expansion name."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from pysmtpd.model.command import NeedsShell, splitCommand
from pysmtpd.model.config import Method
from pysmtpd.model.decision import Kind, Question
from pysmtpd.model.envelope import Agent
from pysmtpd.model.question import Answer, Ask, AskSelf, AskTrust, TempFail, UserInfo, titled
from pysmtpd.model.specifiers import checkFormat
from pysmtpd.ruleset.place import Place
from pysmtpd.ruleset.results import Outcome, Results

T = TypeVar("T")
Asking: TypeAlias = Generator[Ask, Answer, T]

_MDA = Agent.MDA
_ROOT = 0


class Errands:
    """Who may have something run or written, and as whom that is done."""

    __slots__ = ("_results", "_trusted")

    def __init__(self, results: Results) -> None:
        self._results = results
        self._trusted: dict[str, Answer] = {}

    def command(self, place: Place, command: str, questions: list[Question]) -> Asking[Outcome]:
        """A command that can be run as it is written, without a shell."""
        try:
            for word in splitCommand(command):
                checkFormat(word)
        except NeedsShell as error:
            rewrite = f'; write "|{error.rewrite}"' if error.rewrite else ""
            return self._results.fault(f'{place.path} expands to "|{command}": {error}{rewrite}')
        except ValueError as error:
            return self._results.fault(f'{place.path} expands to "|{command}", which cannot be run: {error}')
        return (yield from self.run(place, Kind.COMMAND, command, questions))

    def run(self, place: Place, kind: Kind, text: str, questions: list[Question]) -> Asking[Outcome]:
        """A command or a file, where the one who named it may do so."""
        action = place.action
        what = f'{kind.value} "{text[:200]}"'
        if action.method is Method.FORWARD_ONLY:
            return self._results.cannot(
                f'{place.path} expands to the {what}, and the action "{action.name}" only forwards'
            )
        refused = yield from self.distrust(place, what, questions)
        if refused is not None:
            return refused
        user = shown = action.user or (place.owner.name if place.owner is not None else "")
        if not user:
            # It stays empty: a name could be another's in a userbase, or not be ours at the next start.
            ask = AskSelf()
            me = yield ask
            questions.append(Question(ask, me))
            if not isinstance(me, UserInfo):
                return self._results.cannot(f"{place.path}: {me}")
            if me.uid == _ROOT:
                return self._results.fault(
                    f'{place.path} expands to the {what}, and nothing is run as root: give the action a "user"'
                )
            shown = me.name
        if kind is Kind.COMMAND:
            self._results.add(place, user, _MDA, command=text)
        else:
            self._results.add(place, user, _MDA, file=text)
        return f'action "{action.name}": {kind.value} as {shown}', ()

    def distrust(self, place: Place, what: str, questions: list[Question]) -> Asking[Outcome | None]:
        """None: a .forward speaks for its own user, and this table may name commands."""
        if place.owner is not None or place.isIncluded:
            return None
        table = place.table
        if table not in self._trusted:
            ask = AskTrust(table)
            self._trusted[table] = answer = yield ask
            questions.append(Question(ask, answer))
        trusted = self._trusted[table]
        if trusted is True:
            return None
        if isinstance(trusted, TempFail):
            return self._results.cannot(f"{place.path}: {trusted}")
        return self._results.fault(
            f"{place.path} expands to the {what}, which the {titled(table)} may not name: it is no text file that only root "
            "and the daemon's user can write (allow-commands in its declaration says that it may)"
        )
