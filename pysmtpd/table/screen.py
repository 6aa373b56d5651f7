"""Many tables at one look: which of them may have a key? Most have not, and need not be asked.

Each key of each table in memory leaves a mark at a place that its hash tells. Where there is no mark, no table has the key; a mark
names the tables whose keys came there, and these are asked as ever. So a screen spares questions and answers none.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import IScreen, ITable, Service
from pysmtpd.table.content import Content
from pysmtpd.table.file import FileTable
from pysmtpd.table.glob import starred
from pysmtpd.table.networks import parseAddress
from pysmtpd.table.reading import inSlices
from pysmtpd.table.static import StaticTable

LANE = "screen"
FEW = 4
"""So few tables are as soon asked one by one."""

_MATCHED = (Service.DOMAIN, Service.MAILADDR, Service.NETADDR, Service.STRING)
_DOMAIN, _MAILADDR, _NETADDR, _ = _MATCHED

# Places for each key. Twice as many keys may come until all are marked anew.
_SPARSE = 12
_LEAST = 4_096
_MOST_MARKS = 65_535
# Keys of one slice: some milliseconds of work.
_SLICE = 8_192
# Places that are made at a time.
_GROWTH = 1 << 20


class Marks:
    """They only ever grow: a table's mark that is no longer true costs a question. So generations of tables share them.

    @ivar labels: some table has a C{*.domain}.
    @ivar mailLabels: some table has a C{@*.domain}.
    @ivar shifts: by the width of addresses, how many bits each prefix length in use leaves out.
    """

    def __init__(self, expected: int) -> None:
        self.size = max(_LEAST, _SPARSE * expected) | 1
        # It is C{grow}n before it is used: many megabytes at once would keep the reactor waiting.
        self.places = array("H")
        self.labels = False
        self.mailLabels = False
        self.shifts: dict[int, tuple[int, ...]] = {32: (), 128: ()}
        self._everybody: list[str] = []
        # Which tables a mark names. Should there be too many different ones, the last names all.
        self.tables: list[Sequence[str]] = [()]
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._keys = 0

    def grow(self) -> Iterator[int]:
        """Take the memory.

        @return: goes on at each step.
        """
        empty = array("H", bytes(2 * _GROWTH))
        while len(self.places) < self.size:
            self.places += empty[: self.size - len(self.places)]
            yield _SLICE

    def hasRoom(self, more: int) -> bool:
        """May so many keys be added?"""
        return (self._keys + more) * _SPARSE <= 2 * self.size

    def add(self, name: str, content: Content) -> Iterator[int]:
        """Mark a table's keys.

        @return: goes on at each step, and tells how many keys it has marked there.
        """
        self._everybody.append(name)
        self.labels = self.labels or content.labels
        self.mailLabels = self.mailLabels or content.mailLabels
        networks = list(content.networks.parts())
        for width, shift, _ in networks:
            self.shifts[width] = tuple(dict.fromkeys((*self.shifts[width], shift)))
        index = 0
        while (shard := content.shard(index)) is not None:
            yield self._mark(name, map(hash, shard))
            index += 1
        for _, shift, numbers in networks:
            hashes = (hash((shift, number)) for number in numbers)
            while marked := self._mark(name, islice(hashes, _SLICE)):
                yield marked

    def _mark(self, name: str, hashes: Iterable[int]) -> int:
        places, size = self.places, self.size
        # By what stands there what will.
        known: dict[int, int] = {}
        count = 0
        for number in hashes:
            place = number % size
            before = places[place]
            after = known.get(before)
            if after is None:
                after = known[before] = self._with(before, name)
            places[place] = after
            count += 1
        self._keys += count
        return count

    def _with(self, mark: int, name: str) -> int:
        """The mark that names this table, too."""
        if mark == _MOST_MARKS or name in self.tables[mark]:
            return mark
        names = (*self.tables[mark], name)
        number = self._numbers.get(names)
        if number is None:
            number = min(len(self.tables), _MOST_MARKS)
            if number == len(self.tables):
                self.tables.append(names if number < _MOST_MARKS else self._everybody)
            self._numbers[names] = number
        return number


@implementer(IScreen)
class Screen:
    """What the marks say of one generation's tables.

    @ivar marks: shared with other generations.
    @ivar covered: the tables whose keys are marked.
    """

    def __init__(self, marks: Marks, asked: Mapping[Service, Sequence[str]], covered: Mapping[str, Content]) -> None:
        """
        @param asked: which tables are asked for what.
        """
        self.marks = marks
        self.covered = covered
        # Those that have to be asked whatever the marks say: their entries are not seen, or are patterns.
        self._domain, self._mailaddr, self._netaddr, self._string = (
            [name for name in asked[service] if name not in covered or covered[name].hasPatterns(service)]
            for service in _MATCHED
        )

    def holders(self, service: Service, key: str) -> list[str]:
        """See L{IScreen.holders}."""
        marks = self.marks
        places, size, tables = marks.places, marks.size, marks.tables
        forms: Sequence[str] = ()
        if service is _DOMAIN:
            found = self._domain[:]
            if marks.labels:
                forms = starred(key)
        elif service is _MAILADDR:
            found = self._mailaddr[:]
            forms = self._addressForms(key)
        elif service is not _NETADDR:
            found = self._string[:]
        else:
            found = self._netaddr[:]
            parsed = parseAddress(key)
            if parsed is not None:
                width, number = parsed
                for shift in marks.shifts[width]:
                    mark = places[hash((shift, number >> shift)) % size]
                    if mark:
                        found += tables[mark]
        mark = places[hash(key) % size]
        if mark:
            found += tables[mark]
        for form in forms:
            mark = places[hash(form) % size]
            if mark:
                found += tables[mark]
        return found

    def _addressForms(self, key: str) -> Sequence[str]:
        """The entries that stand for an address, beside itself."""
        if not key:
            return ("<>",)
        local, at, domain = key.rpartition("@")
        if not at:
            return ()
        forms = [local, f"@{domain}"]
        if self.marks.mailLabels:
            for pattern in starred(domain):
                forms += (f"@{pattern}", f"{local}@{pattern}")
        return forms


def contentOf(table: ITable) -> Content | None:
    """What the table holds in memory; None: all of it, or what there is now, is elsewhere."""
    if isinstance(table, StaticTable):
        return table
    return table.content if isinstance(table, FileTable) else None


async def makeScreen(
    platform: IPlatform,
    tables: Mapping[str, ITable],
    services: Mapping[str, Collection[Service]],
    before: Screen | None = None,
) -> Screen | None:
    """
    @param services: what each table is asked for.
    @param before: that of the generation before: what is marked there is not marked again.
    @return: None: there are few tables.
    """
    asked = {service: [name for name in tables if service in services.get(name, ())] for service in _MATCHED}
    if max(map(len, asked.values())) <= FEW:
        return None
    matched = dict.fromkeys(name for names in asked.values() for name in names)
    covered = {name: content for name in matched if (content := contentOf(tables[name])) is not None}
    marks = before.marks if before is not None else None
    new = {
        name: content for name, content in covered.items() if before is None or before.covered.get(name) is not content
    }
    if marks is None or not marks.hasRoom(sum(map(len, new.values()))):
        marks, new = Marks(sum(map(len, covered.values()))), covered
    steps = chain(marks.grow(), (marked for name, content in new.items() for marked in marks.add(name, content)))

    def step() -> bool:
        left = _SLICE
        for marked in steps:
            left -= marked
            if left <= 0:
                return True
        return False

    await inSlices(platform, LANE, step)
    return Screen(marks, asked, covered)
