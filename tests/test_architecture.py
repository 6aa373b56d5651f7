"""The laws of the house (docs/hacking.md), kept by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pysmtpd"

ROOMS = {
    *("smtp", "listen", "ruleset", "router", "config", "queue", "scheduler", "mta", "mda", "bounce"),
    *("filter", "table", "stat", "report", "tls", "dns", "control", "web", "model", "interfaces", "testing"),
    *("platform", "privilege"),
}
EDGES = {
    "pysmtpd.tap",
    "pysmtpd.copying",
    "pysmtpd.privilege.__main__",
    "pysmtpd.service",
    "pysmtpd.backends",
    "pysmtpd.testing",
    "pysmtpd.__main__",
}
COMMAND_LINES = {"pysmtpd.control.cli", "pysmtpd.control.wire"}

PURE = (
    "pysmtpd.model",
    "pysmtpd.smtp",
    "pysmtpd.ruleset",
    "pysmtpd.scheduler.plan",
    "pysmtpd.bounce.dsn",
    "pysmtpd.mta.security",
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
    *("string", "struct", "textwrap", "types", "typing", "unicodedata", "zlib"),
}
EFFECTS = {"open", "now", "today", "utcnow", "uuid", "uuid4", "random", "print", "input"}

# Where real time, threads, files and processes may be touched.
REAL_WORLD = {
    "pysmtpd.platform",
    "pysmtpd.privilege",
    "pysmtpd.mda.host",
    "pysmtpd.tap",
    "pysmtpd.copying",
    *COMMAND_LINES,
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
    def test_pureRoomsImportNoEffects(self) -> None:
        for module, tree in modules():
            if not isPure(module):
                continue
            room = ".".join(module.split(".")[:2])
            for name, line in imports(tree):
                parent = name.rpartition(".")[0]
                allowed = name in EFFECT_FREE or parent in EFFECT_FREE or within(name, "pysmtpd.model", room)
                self.assertTrue(allowed, f"{module}:{line} is pure and imports {name}")

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
            for name, line in imports(tree):
                for forbidden in (
                    "time",
                    "threading",
                    "socket",
                    "subprocess",
                    "random",
                    "secrets",
                    "select",
                    "multiprocessing",
                ):
                    if module == "pysmtpd.interfaces.platform" and name == "random.Random":
                        continue
                    if within(module, "pysmtpd.testing") and name == "random.Random":
                        continue
                    self.assertFalse(within(name, forbidden), f"{module}:{line} imports {name}; ask IPlatform")
                self.assertFalse(
                    within(name, "twisted.internet.reactor", "twisted.internet.threads"), f"{module}:{line}"
                )

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
