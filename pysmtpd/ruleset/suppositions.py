"""Running the rules with names in place of values: every way that some session could go is gone once.

A decision asks questions about what a session brings: its address, its names, its recipient. Here each of these is a name that stands for a
set of candidates. Where an answer would tell the candidates apart, the run goes both ways, each with those that it is true of. So it is the
real code that decides, and few runs stand for all sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskInclude,
    AskLookup,
    AskMatch,
    AskSelf,
    AskToday,
    AskTrust,
    AskUser,
    Service,
    TempFail,
    UserInfo,
)
from pysmtpd.ruleset.sights import Tables, TooMany

MAX_RUNS = 2000
"""Beyond so many runs nothing can be told."""

T = TypeVar("T")

FORWARDED = "zqforwarded@zqforwarded.invalid"


class Unknown(NamedTuple):
    """One thing that a session brings.

    @ivar keys: what stands for it in questions, each with its form of a candidate.
    @ivar candidates: values that it may have; no other value would be treated in a further way, as far as the tables are listed.
    """

    keys: Mapping[str, Callable[[Any], str]]
    candidates: tuple[Any, ...]


class Way(NamedTuple):
    """One way that sessions can go.

    @ivar result: of the run.
    @ivar left: the candidates of each unknown that go this way.
    @ivar guesses: what was not to be told and was supposed; a table's name, or words.
    """

    result: Any
    left: tuple[tuple[Any, ...], ...]
    guesses: tuple[str, ...]


class Ways:
    """Walks all ways of one run.

    @ivar runs: how many there were.
    """

    def __init__(self, tables: Tables, unknowns: Sequence[Unknown], delimiter: str, most: int = MAX_RUNS) -> None:
        self._tables = tables
        self._unknowns = unknowns
        self._delimiter = delimiter
        self._most = most
        self._byKey = {key: (index, form) for index, one in enumerate(unknowns) for key, form in one.keys.items()}
        self._masks: dict[tuple[str, Service, str], int] = {}
        self.runs = 0

    def all(self, begin: Callable[[], Generator[Ask, Answer, T]]) -> Iterator[Way]:
        """
        @raise TooMany:
        """
        scripts: list[list[int]] = [[]]
        while scripts:
            self.runs += 1
            if self.runs > self._most:
                raise TooMany("ways through the rules")
            yield self._run(begin(), scripts.pop(), scripts)

    def _run(self, running: Generator[Ask, Answer, T], script: list[int], scripts: list[list[int]]) -> Way:
        run = _Run(self, [(1 << len(one.candidates)) - 1 for one in self._unknowns], script, scripts)
        try:
            ask = next(running)
            while True:
                ask = running.send(run.answer(ask))
        except StopIteration as ended:
            left = tuple(
                tuple(value for place, value in enumerate(one.candidates) if mask >> place & 1)
                for one, mask in zip(self._unknowns, run.left, strict=True)
            )
            return Way(ended.value, left, tuple(run.guesses))

    def masks(self, ask: AskMatch, form: Callable[[Any], str], index: int) -> int:
        """Which candidates match."""
        known = (ask.table, ask.service, ask.key)
        mask = self._masks.get(known)
        if mask is None:
            mask = 0
            for place, value in enumerate(self._unknowns[index].candidates):
                mask |= self._tables.matches(ask.table, ask.service, form(value), self._delimiter) << place
            self._masks[known] = mask
        return mask


class _Run:
    def __init__(self, ways: Ways, left: list[int], script: list[int], scripts: list[list[int]]) -> None:
        self.left = left
        self.guesses: dict[str, None] = {}
        self._ways = ways
        self._script = script
        self._scripts = scripts
        self._place = 0
        self._said: dict[Ask, Answer] = {}

    def answer(self, ask: Ask) -> Answer:
        """Equal questions are answered alike."""
        if ask not in self._said:
            self._said[ask] = self._find(ask)
        return self._said[ask]

    def _find(self, ask: Ask) -> Answer:
        match ask:
            case AskMatch():
                return self._match(ask)
            case AskLookup(_, Service.USERINFO, _):
                return "65000:65000:/nonexistent"
            case AskLookup():
                return self._lookup(ask)
            case AskUser(name):
                # Whoever sends may know who there is.
                return UserInfo(name, 65000, 65000, "/nonexistent")
            case AskForward(user):
                return self._guess(f".forward of {user.name}", None, FORWARDED)
            case AskTrust():
                return True
            case AskInclude(path):
                self.guesses[path] = None
                return FORWARDED
            case AskSelf():
                return UserInfo("daemon", 65000, 65000, "/nonexistent")
            case AskToday():
                return 0

    def _choose(self, count: int) -> int:
        """One of so many ways; the others are gone another time."""
        if self._place < len(self._script):
            chosen = self._script[self._place]
        else:
            chosen = 0
            taken = self._script[: self._place]
            self._scripts.extend([*taken, other] for other in range(count - 1, 0, -1))
            self._script = [*taken, 0]
        self._place += 1
        return chosen

    def _guess(self, what: str, certain: Answer, supposed: Answer) -> Answer:
        if self._choose(2) == 0:
            return certain
        self.guesses[what] = None
        return supposed

    def _match(self, ask: AskMatch) -> Answer:
        isListed = self._ways._tables.isListed(ask.table, ask.service)
        found = self._ways._byKey.get(ask.key)
        if found is None:
            told = self._ways._tables.match(*ask)
            if told is not None:
                return told
            return self._guess(ask.table, False, True)
        index, form = found
        matching = self._ways.masks(ask, form, index) & self.left[index]
        others = self.left[index] & ~matching
        ways: list[tuple[bool, int, bool]] = []
        if matching:
            ways.append((True, matching, False))
        if others:
            ways.append((False, others, False))
            if not isListed:
                ways.append((True, others, True))
        answer, mask, isGuess = ways[self._choose(len(ways)) if len(ways) > 1 else 0]
        self.left[index] = mask
        if isGuess:
            self.guesses[ask.table] = None
        return answer

    def _lookup(self, ask: AskLookup) -> Answer:
        lookup = self._ways._tables.lookup
        found = self._ways._byKey.get(ask.key)
        if found is None:
            told = lookup(*ask)
            return self._guess(ask.table, None, FORWARDED) if isinstance(told, TempFail) else told
        index, form = found
        groups: dict[Answer, int] = {}
        for place, value in enumerate(self._ways._unknowns[index].candidates):
            if self.left[index] >> place & 1:
                told = lookup(ask.table, ask.service, form(value))
                groups[told] = groups.get(told, 0) | 1 << place
        ways = list(groups.items())
        answer, mask = ways[self._choose(len(ways)) if len(ways) > 1 else 0]
        self.left[index] = mask
        if isinstance(answer, TempFail) or not self._ways._tables.isListed(ask.table, ask.service):
            return self._guess(ask.table, None if isinstance(answer, TempFail) else answer, FORWARDED)
        return answer
