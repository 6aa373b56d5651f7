"""The laws of the house (docs/hacking.md), kept by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pysmtpd"

# Command lines, what puts rooms together, and what is handed to users.
EDGES = {
    *("pysmtpd.__main__", "pysmtpd.mda.__main__", "pysmtpd.privilege.__main__", "pysmtpd.testing"),
    *("pysmtpd.checking", "pysmtpd.converting", "pysmtpd.copying", "pysmtpd.explaining", "pysmtpd.makemap"),
    *("pysmtpd.options", "pysmtpd.reading", "pysmtpd.running", "pysmtpd.tap"),
    *(
        "pysmtpd.analysing",
        "pysmtpd.backends",
        "pysmtpd.generations",
        "pysmtpd.operating",
        "pysmtpd.reloading",
        "pysmtpd.rematching",
    ),
    "pysmtpd.renewing",
    "pysmtpd.service",
}
COMMAND_LINES = {"pysmtpd.control.cli", "pysmtpd.control.enqueue", "pysmtpd.control.wire"}

PURE = (
    *("pysmtpd.model", "pysmtpd.smtp", "pysmtpd.ruleset"),
    "pysmtpd.bounce.dsn",
    *("pysmtpd.config.command", "pysmtpd.config.environment", "pysmtpd.config.unbuilt", "pysmtpd.config.values"),
    "pysmtpd.config.words",
    *("pysmtpd.control.explained", "pysmtpd.control.rows"),
    "pysmtpd.control.schema",
    *("pysmtpd.dns.cache", "pysmtpd.dns.hosts", "pysmtpd.dns.names", "pysmtpd.dns.turns"),
    *("pysmtpd.listen.addresses", "pysmtpd.listen.damping", "pysmtpd.listen.limits", "pysmtpd.listen.loops"),
    *("pysmtpd.listen.profile", "pysmtpd.listen.proxy", "pysmtpd.listen.senders", "pysmtpd.listen.suppose"),
    "pysmtpd.listen.trace",
    *("pysmtpd.mda.exits", "pysmtpd.mda.header", "pysmtpd.mda.plan", "pysmtpd.mda.wire"),
    *(
        "pysmtpd.mta.bounds",
        "pysmtpd.mta.encounter",
        "pysmtpd.mta.ending",
        "pysmtpd.mta.host",
        "pysmtpd.mta.keys",
        "pysmtpd.mta.lanes",
    ),
    *("pysmtpd.mta.pace", "pysmtpd.mta.security", "pysmtpd.mta.standing"),
    *("pysmtpd.mta.policy.memory", "pysmtpd.mta.policy.sts", "pysmtpd.mta.policy.tlsrpt"),
    *("pysmtpd.mta.shaping.backoff", "pysmtpd.mta.shaping.bucket"),
    *("pysmtpd.mta.shaping.holding", "pysmtpd.mta.shaping.keys"),
    *("pysmtpd.queue.cache", "pysmtpd.queue.ids", "pysmtpd.queue.record"),
    *("pysmtpd.scheduler.backoff", "pysmtpd.scheduler.plan", "pysmtpd.scheduler.verdict"),
    *("pysmtpd.table.candidates", "pysmtpd.table.glob", "pysmtpd.table.networks", "pysmtpd.table.syntax"),
    *("pysmtpd.table.turns", "pysmtpd.table.uses", "pysmtpd.table.values"),
    "pysmtpd.testing.dialogue",
)
EFFECT_FREE = {
    *(
        "__future__",
        "abc",
        "array",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "decimal",
        "email.utils",
    ),
    *(
        "enum",
        "fnmatch",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "idna",
        "ipaddress",
        "itertools",
        "math",
        "operator",
        "re",
    ),
    *("json", "string", "struct", "textwrap", "types", "typing", "unicodedata", "zlib"),
}
EFFECTS = {"open", "now", "today", "utcnow", "uuid", "uuid4", "random", "print", "input"}

# Where real time, threads, files and processes may be touched.
REAL_WORLD = {
    "pysmtpd.platform",
    "pysmtpd.privilege",
    "pysmtpd.mda.__main__",
    "pysmtpd.mda.host",
    "pysmtpd.tap",
    "pysmtpd.checking",
    "pysmtpd.converting",
    "pysmtpd.copying",
    "pysmtpd.explaining",
    "pysmtpd.makemap",
    "pysmtpd.reading",
    "pysmtpd.running",
    *COMMAND_LINES,
}
WORLDLY = (
    *(
        "time",
        "random",
        "secrets",
        "threading",
        "_thread",
        "concurrent",
        "asyncio",
        "queue",
        "select",
        "selectors",
        "signal",
    ),
    *("os", "io", "pathlib", "shutil", "tempfile", "fcntl", "glob", "mmap", "resource", "pwd", "grp", "ctypes"),
    *("socket", "ssl", "subprocess", "multiprocessing", "urllib.request", "http", "requests"),
    *("twisted.internet.reactor", "twisted.internet.threads", "twisted.internet.utils", "twisted.python.filepath"),
)
# What else blocks: the built-in open, and anything called by one of these names.
BLOCKING = {"sleep", "fsync", "getaddrinfo", "gethostbyname", "run_until_complete"}
# crypt(3), which is called in a lane; and the simulated world's own means, of which it lets nobody see anything real.
LEAVE = {
    # Flags of send(2), an option of getsockopt(2).
    "pysmtpd.interfaces.direct": {"socket"},
    "pysmtpd.router.crypt": {"ctypes"},
    "pysmtpd.interfaces.platform": {"random"},
    "pysmtpd.testing": {"os", "random", "shutil", "tempfile"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(), str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each imported name in full: C{from a.b import c} gives C{a.b.c}."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def within(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def isPure(module: str) -> bool:
    return within(module, *PURE)


def roomOf(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


class ArchitectureTests(SynchronousTestCase):
    def test_theListsNameModules(self) -> None:
        there = {module for module, _ in modules()}
        self.assertEqual({*PURE, *EDGES, *COMMAND_LINES, *REAL_WORLD, *LEAVE} - there, set())

    def test_pureRoomsImportNoEffects(self) -> None:
        """They import effect-free standard modules, the model, the protocol, and what else is pure in their own room."""
        for module, tree in modules():
            if not isPure(module):
                continue
            for name, line in imports(tree):
                parent = name.rpartition(".")[0]
                own = within(name, f"pysmtpd.{roomOf(module)}") and isPure(name)
                allowed = (
                    name in EFFECT_FREE or parent in EFFECT_FREE or within(name, "pysmtpd.model", "pysmtpd.smtp") or own
                )
                self.assertTrue(allowed, f"{module}:{line} is pure and imports {name}")

    def test_theModelIsBelowAll(self) -> None:
        for module, tree in modules():
            if within(module, "pysmtpd.model", "pysmtpd.smtp"):
                for name, line in imports(tree):
                    if within(name, "pysmtpd"):
                        below = within(name, "pysmtpd.model", f"pysmtpd.{roomOf(module)}")
                        self.assertTrue(below, f"{module}:{line} imports {name}")

    def test_pureRoomsCallNoEffects(self) -> None:
        for module, tree in modules():
            if not isPure(module):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    self.assertNotIn(called, EFFECTS, f"{module}:{node.lineno} is pure and calls {called}")

    def test_noRoomImportsAnother(self) -> None:
        shared = ("pysmtpd.model", "pysmtpd.interfaces", "pysmtpd.smtp")
        for module, tree in modules():
            if within(module, *EDGES) or module in COMMAND_LINES or module == "pysmtpd":
                continue
            room = roomOf(module)
            for name, line in imports(tree):
                if within(name, "pysmtpd") and not within(name, *shared, f"pysmtpd.{room}"):
                    self.assertEqual(name, "pysmtpd.__version__", f"{module}:{line} imports {name}")

    def test_onlyThePlatformTouchesTheWorld(self) -> None:
        for module, tree in modules():
            if within(module, *REAL_WORLD):
                continue
            leave = [name for place, names in LEAVE.items() if within(module, place) for name in names]
            for name, line in imports(tree):
                if not within(name, *leave):
                    self.assertFalse(within(name, *WORLDLY), f"{module}:{line} imports {name}; ask IPlatform")

    def test_nothingBlocks(self) -> None:
        for module, tree in modules():
            if within(module, *REAL_WORLD, "pysmtpd.testing"):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else ""
                    attribute = getattr(node.func, "attr", "")
                    blocks = called == "open" or {called, attribute} & BLOCKING
                    self.assertFalse(blocks, f"{module}:{node.lineno} calls {called or attribute}; ask IPlatform")

    def test_onlyTheCommandLineSaysReactor(self) -> None:
        for module, tree in modules():
            if module != "pysmtpd.tap":
                for name, line in imports(tree):
                    self.assertFalse(within(name, "twisted.internet.reactor"), f"{module}:{line} imports the reactor")

    def test_nothingIsImportedLate(self) -> None:
        """A daemon that has left root may not be able to read what it has not loaded yet."""
        for module, tree in modules():
            if within(module, *EDGES) or module in COMMAND_LINES:
                continue
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    late = [node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                    # It is called before the reactor runs.
                    self.assertTrue(not late or module == "pysmtpd.platform.turns", f"{module}:{late} imports late")

    def test_noPluginPackageMarkers(self) -> None:
        self.assertFalse((ROOT / "twisted" / "__init__.py").exists(), "it would hide the real twisted package")
        self.assertFalse((ROOT / "twisted" / "plugins" / "__init__.py").exists(), "twistd would skip the directory")

    def test_pluginFilesImportNoBackend(self) -> None:
        for path in sorted((ROOT / "twisted" / "plugins").glob("*.py")):
            for name, line in imports(ast.parse(path.read_text())):
                allowed = within(name, "__future__", "twisted.application.service", "pysmtpd.backends")
                self.assertTrue(allowed, f"{path.name}:{line} imports {name}")

    def test_nothingIteratesASet(self) -> None:
        """A set's order depends on PYTHONHASHSEED: a decision that iterates one cannot be replayed."""
        for module, tree in modules():
            for node in ast.walk(tree):
                if isinstance(node, ast.For | ast.comprehension):
                    self.assertFalse(isinstance(node.iter, ast.Set | ast.SetComp), f"{module}:{node.iter.lineno}")
