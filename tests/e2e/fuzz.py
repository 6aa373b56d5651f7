"""Long runs against the readers of what people write: C{python -m tests.e2e.fuzz [SECONDS [SEED]]}.

smtpd.conf and those of before 6.4, values of aliases, included files, .forward, commands, table files, rewritten senders. Of each input:
no traceback, no more than 100 ms of CPU to read it, no more than 50 MB; what is accepted comes back when it is written down again. A
finding is printed with its seed and ends the run with status 1.
"""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path as File
from random import Random
from time import monotonic, process_time
from typing import TypeAlias

from pysmtpd.config import Environment, Finding, Reading
from pysmtpd.config.dated.convert import convert
from pysmtpd.config.printer import printed
from pysmtpd.model.address import Path
from pysmtpd.model.command import splitCommand
from pysmtpd.model.config import SrsSpec
from pysmtpd.model.srs import BadSrs, decode, encode
from pysmtpd.reading import regexFault
from pysmtpd.ruleset.nodes import BadNode, formatNodes, parseLines, parseNodes
from pysmtpd.table.content import Content
from pysmtpd.table.syntax import parseTable

SECONDS = 600
MOST_TEXT = 16_384
MOST_SECONDS = 0.1
# Conversion reads a file several times, and once in its life.
MOST_SECONDS_OF = {"old": 0.4}
MOST_MEMORY = 50_000_000

ENVIRONMENT = Environment(
    "mx.example.org",
    ("127.0.0.1", "::1", "192.0.2.25"),
    {"lo": ("127.0.0.1", "::1"), "lo0": ("127.0.0.1", "::1"), "eth0": ("192.0.2.25",), "egress": ("192.0.2.26",)},
    lambda name: ["192.0.2.80"],
    regexFault,
)

# Reads a text, and gives what remains to be checked of what it made of it.
Check: TypeAlias = Callable[[], None]
Target: TypeAlias = Callable[[str], Check]

SEEDS = {
    "alias": (
        "ann, ben@example.org, |/bin/x 'a b', /var/x, :include:/etc/x",
        '"|/bin/x \\"a, b\\"", \\ann, "x\\\\y"',
        "error:550 5.1.1 No, never",
    ),
    "forward": ("# away\n\\ann\nben@example.org, cid\n|exec x\n", '"|/bin/x a"\n\n/home/ann/mbox\n'),
    "command": ('/bin/x -a \'b c\' "d \\" e" %{user.username[0:3]:lowercase|strip}', "sh -c 'a | b'", "X=1 a ~/b"),
    "table": (
        "# @list\nexample.org\n*.example.net\n[2001:db8::1]\n",
        "ann: ben,\n  cid\n\"a b\" x y\nroot : ann\nben@example.org\t|/bin/x 'a'\n",
        "192.0.2.0/24\n2001:db8::/32\n[IPv6:2001:db8::7]\nlocal\n",
    ),
    "srs": ("SRS0=ABCDEFGH=AA=example.com=ann", "SRS1=ABCD=a.example==HHHH=AA=b.example=ann", "srs0+x-y=z"),
}
_WORDS = (
    "\0",
    "\n",
    "\r",
    '"',
    "'",
    "\\",
    ",",
    "|",
    "/",
    "@",
    "{",
    "}",
    "(",
    "=",
    "$",
    "%{",
    "!",
    "#",
    "<",
    ">",
    "*",
    "\t",
    "é",
    "\ud800",
)


def heavy() -> Iterator[tuple[str, str]]:
    """What is most work for its size: the shortest lines and tokens, lists and mistakes, and macros that stand for much."""
    for unit in (
        "a=b\n",
        "a=b\n$a\n",
        '"',
        '"\n',
        "{",
        "{\n",
        "$a ",
        "$\n",
        "x\n",
        "x y\n",
        "\\\n",
        "#\n",
        "a: b\n",
        "a\n",
        "a,",
        '"a",',
        "|a,",
    ):
        for name in TARGETS:
            yield name, unit * (MOST_TEXT // len(unit))
    for head, unit, tail in (
        ("table t {", "b,", "b}\n"),
        ("table t {", "b\n", "}\n"),
        ("table t {", "b=c,", "b=c}\n"),
        ("table t {", '"" ', "}\n"),
        ("listen on lo ", "tls ", "\n"),
        ("match ", "! tls ", "reject\n"),
        ("action a relay ", "src a ", "\n"),
        ("smtp limit ", "max-rcpx 1 ", "\n"),
        ("bounce warn-interval ", "1d,", "1d\n"),
        ("", "table t { a\n", ""),
        ("", "match tag <x> reject\n", ""),
        (f'm = "{"x " * 4000}"\n', "table t { $m }\n", ""),
        ("".join(f"table t{number} a:b\n" for number in range(600)), "match tag <tx> reject\n", ""),
    ):
        yield "config", head + unit * ((MOST_TEXT - len(head) - len(tail)) // len(unit)) + tail


def alias(text: str) -> Check:
    nodes = parseNodes(text)

    def check() -> None:
        if not any(isinstance(node, BadNode) for node in nodes):
            assert parseNodes(formatNodes(nodes)) == nodes, "it does not come back"

    return check


def forward(text: str) -> Check:
    nodes = tuple(node for _, node in parseLines(text))

    def check() -> None:
        if not any(isinstance(node, BadNode) for node in nodes):
            written = "\n".join(formatNodes((node,)) for node in nodes)
            assert tuple(node for _, node in parseLines(written)) == nodes, "it does not come back"

    return check


def command(text: str) -> Check:
    try:
        words = splitCommand(text)
    except ValueError:
        return nothing

    def check() -> None:
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        assert splitCommand(quoted) == words, "it does not come back"

    return check


def srs(text: str) -> Check:
    spec = SrsSpec("key")

    def check() -> None:
        made = encode(spec, Path(text or "x", "example.com"), "example.org", 20_000)
        if made.local[:5] == "SRS0=":
            assert decode(spec, made, 20_000) == Path(text or "x", "example.com"), "it does not come back"

    try:
        decode(spec, Path(text, "example.org"), 20_000)
    except BadSrs:
        return check
    raise AssertionError("it was forged")


def config(text: str) -> Check:
    reading = _read(text)

    def check() -> None:
        if not reading.problems.found():
            once = printed(reading.config())
            again = _read(once)
            assert not again.problems.found(), "what is printed is refused"
            assert printed(again.config()) == once, "it does not come back"

    return check


def _read(text: str) -> Reading:
    def readFile(name: str) -> str:
        if name != "smtpd.conf":
            raise FileNotFoundError(2, "No such file", name)
        return text

    return Reading("smtpd.conf", readFile, ENVIRONMENT, {})


def old(text: str) -> Check:
    converted = convert("smtpd.conf", text).text

    def check() -> None:
        for problem in _read(converted).problems.found(Finding.LANGUAGE):
            assert "before 6.4" not in problem.message, f"{problem} is left"
        # What a macro stands for need not fit where it is used, and a lone carriage return may come to stand before a line's end.
        assert "$" in text or "\r" in text or convert("smtpd.conf", converted).text == converted, "it is not stable"

    return check


def table(text: str) -> Check:
    try:
        entries = tuple(parseTable(text.encode("utf-8", "replace").decode("utf-8")))
    except ValueError:
        return nothing
    Content(entries)

    def check() -> None:
        if any(value for _, value in entries):
            lines = (f"{_quoted(key)}: {value}\n" for key, value in entries)
            assert tuple(parseTable("".join(lines), isMap=True)) == entries, "it does not come back"

    return check


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nothing() -> None:
    """What was refused need not come back."""


TARGETS: dict[str, Target] = {
    "alias": alias,
    "forward": forward,
    "command": command,
    "srs": srs,
    "config": config,
    "old": old,
    "table": table,
}


def seeds() -> dict[str, tuple[str, ...]]:
    root = File(__file__).resolve().parents[2]
    files = {
        kind: tuple(file.read_text() for file in sorted((root / "tests/config/files" / kind).glob("*.conf")))
        for kind in ("accepted", "refused", "old")
    }
    page = (root / "docs/configure.md").read_text()
    examples = tuple(re.findall(r"^```smtpd\.conf\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    return {**SEEDS, "config": (*examples, *files["accepted"], *files["refused"]), "old": files["old"]}


def mutated(random: Random, text: str, others: tuple[str, ...]) -> str:
    for _ in range(random.randint(1, 8)):
        at, to = sorted((random.randint(0, len(text)), random.randint(0, len(text))))
        match random.randrange(7):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:at] + random.choice(_WORDS) + text[at:]
            case 2:
                text = text[:to] + text[at:to] + text[to:]
            case 3:
                other = random.choice(others)
                text = text[:at] + other[random.randint(0, len(other)) :] + text[to:]
            case 4:
                text = text[:at] + chr(random.randrange(0x250)) + text[at + 1 :]
            case 5:
                text = text[:at] + text[at:to] * random.randint(2, 50) + text[to:]
            case _:
                text = text[:at] + random.choice(_WORDS) * random.choice((2, 100, 5000)) + text[at:]
    return text[:MOST_TEXT]


def tried(name: str, text: str, weighs: bool) -> str:
    """What is wrong with how this input is taken; empty: nothing."""
    start = process_time()
    try:
        check = TARGETS[name](text)
        taken = process_time() - start
        check()
    except Exception as error:
        return repr(error)
    if taken > MOST_SECONDS_OF.get(name, MOST_SECONDS):
        return f"{taken:.3f} seconds"
    if not weighs:
        return ""
    # It makes everything slow, so it has a turn of its own.
    tracemalloc.start()
    try:
        TARGETS[name](text)
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return f"{memory} octets" if memory > MOST_MEMORY else ""


def run(seconds: float, seed: int) -> int:
    """How many inputs were tried.

    @raise SystemExit: one was not taken as it should be.
    """
    random = Random(seed)
    corpus = seeds()
    for name, texts in corpus.items():
        # What is made at the first use is not the input's.
        tried(name, texts[0], weighs=False)
    for name, text in heavy():
        _demand(f"heavy {text[:40]!r}", name, text)
    tries = 0
    until = monotonic() + seconds
    while monotonic() < until:
        name = random.choice(tuple(corpus))
        text = mutated(random, random.choice(corpus[name]), corpus[name])
        _demand(f"seed {seed}, try {tries}", name, text, weighs=tries % 20 == 0)
        tries += 1
    return tries


def _demand(which: str, name: str, text: str, weighs: bool = True) -> None:
    """
    @raise SystemExit: it was not taken as it should be.
    """
    wrong = tried(name, text, weighs)
    # Others use the machine, too.
    if wrong and tried(name, text, weighs) and tried(name, text, weighs):
        print(f"{which}, {name}: {wrong}\n{text[:1000]!r}")
        raise SystemExit(1)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    duration = numbers[0] if numbers else SECONDS
    print(f"{run(duration, numbers[1] if len(numbers) > 1 else 1)} inputs")
