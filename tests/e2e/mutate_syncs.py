"""Takes each sync out of the code and asks the tests whether they notice: C{python -m tests.e2e.mutate_syncs [PART-OF-A-PATH]}.

A line is left out in a copy of the tree; the tests of its room run there until one fails, then, if none has, those that see the whole
daemon. A test that fails must pass once the line is back, and fail again without it: one that a busy machine made fail has noticed
nothing. Prints a table; the exit code is the number of lines that nobody missed.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.support import ROOT, environment

COPIED = ("pysmtpd", "tests", "twisted", "docs", "setup.cfg", "pyproject.toml")

# Whoever sees everything, after the tests of the line's own room. The quickest comes first.
WIDER = ("tests.e2e.test_syncs", "tests.testing", "tests.daemon")

_CALLS = frozenset({"sync", "syncDirectory", "syncDescriptor", "_dataSync", "fsync", "fdatasync"})

# There is no such call on this system.
_ELSEWHERE = "F_FULLFSYNC"


@dataclass(frozen=True)
class Sync:
    """A statement that makes something durable.

    @ivar path: relative to the tree.
    @ivar first: its first line, from 1.
    """

    path: Path
    first: int
    last: int
    text: str

    @property
    def weakened(self) -> str:
        """What stands in its place: nothing. But without a PRAGMA, SQLite does what it was compiled to do, which may be the same."""
        return self.text.replace("FULL", "NORMAL") if "PRAGMA" in self.text else "pass"

    def __str__(self) -> str:
        return f"{self.path}:{self.first}: {self.text}"


def syncs() -> Iterator[Sync]:
    """All of them, but for the simulated disk's own."""
    for path in sorted((ROOT / "pysmtpd").rglob("*.py")):
        if "testing" in path.parts:
            continue
        source = path.read_text()
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _isSync(node.value):
                last = node.end_lineno or node.lineno
                yield Sync(path.relative_to(ROOT), node.lineno, last, lines[node.lineno - 1].strip())


def _isSync(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    text = ast.unparse(call)
    return (name in _CALLS and _ELSEWHERE not in text) or "PRAGMA synchronous" in text


class Tree:
    """A copy of the tree that may be spoilt."""

    def __init__(self, place: Path) -> None:
        self._place = place
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
            else:
                shutil.copy(source, place / name)

    def _without(self, sync: Sync) -> None:
        lines = (ROOT / sync.path).read_text().splitlines(keepends=True)
        line = lines[sync.first - 1]
        indentation = line[: len(line) - len(line.lstrip())]
        lines[sync.first - 1 : sync.last] = [f"{indentation}{sync.weakened}\n"]
        (self._place / sync.path).write_text("".join(lines))

    def _restore(self, sync: Sync) -> None:
        shutil.copy(ROOT / sync.path, self._place / sync.path)

    def killer(self, sync: Sync) -> str:
        """The first test that misses it; empty: none does."""
        for suite in (*closest(sync.path), *WIDER):
            failed = self._failing(suite, sync)
            # A busy machine makes tests fail, too; hardly twice with a pause between.
            if failed and not self._failing(failed) and self._failing(failed, sync):
                return failed
        return ""

    def _failing(self, suite: str, missing: Sync | None = None) -> str:
        """The first test of C{suite} that fails; empty: none does.

        @param missing: meanwhile left out.
        @raise SystemExit: nobody can say which it was.
        """
        if missing is not None:
            self._without(missing)
            try:
                return self._failing(suite)
            finally:
                self._restore(missing)
        done = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "--exitfirst", "--reporter=bwverbose", suite],
            cwd=self._place,
            env=environment() | {"PYTHONPATH": str(self._place)},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not done.returncode:
            return ""
        names = [line for line in done.stdout.splitlines() if line.startswith("tests.") and line.count(".") > 2]
        if not names:
            raise SystemExit(f"{suite}: {done.stdout[-300:]}{done.stderr[-300:]}")
        return names[-1]


def closest(path: Path) -> tuple[str, ...]:
    """The suite of the room that C{path} belongs to, and the modules that import it."""
    tests = ROOT / "tests"
    room = tests / path.parts[1]
    module = ".".join(path.with_suffix("").parts)
    found = [room] if room.is_dir() else []
    for test in sorted(tests.rglob("test_*.py")):
        if room not in test.parents and re.search(rf"\b{re.escape(module)}\b", test.read_text()):
            found.append(test.with_suffix(""))
    return tuple(".".join(each.relative_to(ROOT).parts) for each in found)


def main(arguments: list[str]) -> int:
    chosen = [sync for sync in syncs() if not arguments or arguments[0] in str(sync)]
    survived: list[Sync] = []
    with tempfile.TemporaryDirectory(prefix="pysmtpd-mutants-") as directory:
        Path(directory).chmod(0o755)
        tree = Tree(Path(directory))
        for number, sync in enumerate(chosen, 1):
            began = time.monotonic()
            killer = tree.killer(sync)
            if not killer:
                survived.append(sync)
            verdict = f"killed by {killer}" if killer else "SURVIVED"
            print(f"{number}/{len(chosen)} {sync}\n    {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(chosen)} syncs, {len(chosen) - len(survived)} killed, {len(survived)} survived")
    for sync in survived:
        print(f"  survived: {sync}")
    return len(survived)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
