"""What is a configuration, and what is not: our verdict against that of OpenSMTPD itself.

    python -m tests.e2e.oracle [CASES [SEED]]

The other side are the opensmtpd of Debian 12, a 6.8, and of Debian 13, a 7.6, unpacked beside; C{OPENSMTPD} names another smtpd in their
place. Where the dialect of the 6.8 is older than 7.8's a named rule leaves the case out; docs/differences.md has the differences that are
wanted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pysmtpd.config import Environment, Finding, Reading
from pysmtpd.testing.certificates import selfSigned
from tests.config.generate import INCLUDED, Generator, mutated

BESIDE = Path("/var/cache/pysmtpd-tests")
PACKAGES = ("opensmtpd", "opensmtpd-newer")
PATIENCE = 60.0

ENVIRONMENT = Environment(
    "mx.example.org", ("127.0.0.1", "::1"), {"lo": ("127.0.0.1", "::1")}, lambda name: ["192.0.2.80"]
)

# What OpenSMTPD says of the machine, and not of the text.
_OF_THE_MACHINE = (
    "invalid virtual ip or interface",
    "failed to load",
    "failed to include file",
    "invalid configuration file",
    "does not exist",
    "could not parse",
)
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Verdict:
    """
    @ivar said: what was printed of it.
    """

    isAccepted: bool
    said: str


@dataclass
class Tally:
    """
    @ivar differing: text, ours, theirs.
    """

    cases: int = 0
    accepted: int = 0
    agreed: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    differing: list[tuple[str, Verdict, Verdict]] = field(default_factory=list)
    hit: set[str] = field(default_factory=set)


class Place:
    """A directory with the files that generated configurations name."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        certificate, key = selfSigned("mx.example.org")
        for name, content in (
            ("cert.pem", certificate),
            ("key.pem", key),
            ("list", b"example.org\n192.0.2.1\n"),
            ("included.conf", INCLUDED.encode()),
            ("map", b"ann ann@example.org\nben x\n"),
        ):
            (self.path / name).write_bytes(content)
            (self.path / name).chmod(0o600)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def find() -> list[str]:
    """The smtpd of each OpenSMTPD that there is."""
    named = os.environ.get("OPENSMTPD")
    if named:
        return [named]
    found = [BESIDE / package / "usr/sbin/smtpd" for package in PACKAGES]
    return [str(path) for path in found if path.exists()]


def ours(text: str) -> Verdict:
    """C{pysmtpd -n --syntax}, in this process."""
    reading = Reading("smtpd.conf", lambda path: _include(path, text), ENVIRONMENT, {})
    problems = reading.problems.found(Finding.LANGUAGE)
    return Verdict(not problems, "\n".join(str(problem) for problem in problems))


def _include(path: str, text: str) -> str:
    if path == "smtpd.conf":
        return text
    if path.endswith("/included.conf"):
        return INCLUDED
    raise FileNotFoundError(2, "No such file or directory", path)


def theirs(smtpd: str, path: Path, text: str) -> Verdict:
    """C{smtpd -n}."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = subprocess.run(
        [smtpd, "-n", "-f", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
        env={"RES_OPTIONS": "timeout:1 attempts:1", "PATH": "/usr/bin:/bin"},
    )
    return Verdict(done.returncode == 0, done.stderr.decode("utf-8", "replace"))


def version(smtpd: str) -> str:
    """Such as C{6.8.0p2}."""
    done = subprocess.run([smtpd, "-h"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    found = re.search(r"(\d+\.\d+[.\dp]*)", done.stderr + done.stdout)
    return found[1] if found else "?"


Rule = Callable[[str, Verdict, Verdict], object]

_OWN = re.compile(
    r"(?<![\w-])(allow-(commands|local-mx)|auth-without-tls|backend|bare-newline|proxy|resolver|shell|submission|xclient(-login)?)"
    r"(?![\w-])|proxy-v2\s+from|srs\s+domain|limit .*[0-9](ms|s|m|h|d|K|M|G|%)"
)

_INCLUDE = re.compile(r"""^[ \t]*include[ \t]*("[^"\n]*"|'[^'\n]*')[ \t]*[^\s#]""", re.MULTILINE)

# Differences that are wanted, by their id in docs/differences.md.
WANTED: dict[str, Rule] = {
    "table-backends": lambda text, our, their: (
        our.isAccepted and "backend" in their.said and "does not exist" in their.said
    ),
    "table-arguments": lambda text, our, their: our.isAccepted and "invalid backend parameter for table" in their.said,
    "pki-names": lambda text, our, their: our.isAccepted and "pki name not found" in their.said,
    "own-words": lambda text, our, their: our.isAccepted and _OWN.search(text) and "syntax error" in their.said,
    "port-services": lambda text, our, their: "is not a port" in our.said or "invalid port" in their.said,
    "include-alone": lambda text, our, their: their.isAccepted and _INCLUDE.search(text),
    "limit-values": lambda text, our, their: (
        our.isAccepted and re.search(r"limit [^\n]*([\"']|[0-9]#)", text) and "syntax error" in their.said
    ),
    "rule-twice": lambda text, our, their: their.isAccepted and "given twice in one rule" in our.said,
    "queue-key-stdin": lambda text, our, their: our.isAccepted and "invalid key for queue encryption" in their.said,
}


# What 7.8 takes and the older one does not, or the other way round, by the page that describes 7.8.
OLDER: dict[str, Rule] = {
    "newline beside a brace or comma": lambda text, our, their: (
        our.isAccepted and any(re.search(r"\{\s*\n|,\s*\n|\n\s*\}|#", braces) for braces in _BRACES.findall(text))
    ),
    "ciphers and protocols": lambda text, our, their: our.isAccepted and re.search(r"\b(ciphers|protocols)\b", text),
    "protocols is a word": lambda text, our, their: their.isAccepted and "protocols" in text,
    "several pki": lambda text, our, their: our.isAccepted and "pki already specified" in their.said,
    "no-dsn on the socket": lambda text, our, their: our.isAccepted and re.search(r"socket\b.*no-dsn", text, re.DOTALL),
    "maps as lists": lambda text, our, their: our.isAccepted and "may not be used for" in their.said,
    "tls without pki": lambda text, our, their: their.isAccepted and "needs a certificate" in our.said,
}


def judge(text: str, our: Verdict, their: Verdict, isOlder: bool) -> str:
    """Empty: they agree. Else the name of the rule by which they may differ, or C{"differs"}."""
    if our.isAccepted == their.isAccepted:
        return ""
    if our.isAccepted and any(word in their.said for word in _OF_THE_MACHINE) and "syntax error" not in their.said:
        if not WANTED["table-backends"](text, our, their):
            return "the machine"
    for name, rule in WANTED.items():
        if rule(text, our, their):
            return name
    if isOlder:
        for name, rule in OLDER.items():
            if rule(text, our, their):
                return name
    return "differs"


def cases(count: int, seed: int, tally: Tally, isOlder: bool) -> Iterator[str]:
    """As many texts; every other one is valid."""
    random = Random(seed)
    for number in range(count):
        generator = Generator(random, isOlder=isOlder)
        text = generator.configuration(random.choice((2, 4, 8)))
        tally.hit |= generator.hit
        yield mutated(random, text) if number % 2 else text


def compare(smtpd: str, count: int, seed: int) -> Tally:
    """Judge as many cases."""
    tally = Tally()
    isOlder = version(smtpd) < "7"
    place = Place()
    try:
        for text in cases(count, seed, tally, isOlder):
            filled = text.replace("@DIR@", str(place.path))
            our = ours(filled)
            their = theirs(smtpd, place.path / "smtpd.conf", filled)
            tally.cases += 1
            tally.accepted += their.isAccepted
            name = judge(filled, our, their, isOlder)
            if not name:
                tally.agreed += 1
            elif name == "differs":
                tally.differing.append((text, our, their))
            else:
                tally.excluded[name] += 1
    finally:
        place.remove()
    return tally


def main() -> None:
    found = find()
    if not found:
        sys.exit(f"there is no smtpd below {BESIDE}: run tests/e2e/setup, or name one with OPENSMTPD")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    sys.exit(sum(_tell(smtpd, count, seed) for smtpd in found) != 0)


def _tell(smtpd: str, count: int, seed: int) -> int:
    """
    @return: how many verdicts differ.
    """
    started = time.monotonic()
    tally = compare(smtpd, count, seed)
    print(f"OpenSMTPD {version(smtpd)}, seed {seed}: {tally.cases} cases in {time.monotonic() - started:.0f} s")
    print(f"  accepted there {tally.accepted}, same verdict {tally.agreed}, differing {len(tally.differing)}")
    for name, number in tally.excluded.most_common():
        print(f"  left out: {number:5} {name}")
    for text, our, their in tally.differing[:20]:
        print(f"---- ours: {'accepted' if our.isAccepted else our.said}\n---- theirs: {their.said.strip()}\n{text}")
    return len(tally.differing)


if __name__ == "__main__":
    main()
