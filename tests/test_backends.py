"""Backends are found as Twisted plugins."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

import twisted.plugins
from pysmtpd.backends import NoSuchBackend, findBackend, forms, makeBackend, pluginFaults
from pysmtpd.model.config import BackendSpec

THIRD_PARTY = """
from pysmtpd.backends import BackendMaker

acme = BackendMaker("stat", "acme", "acme:COLOUR", "acme_stat.make")
"""

ACME = """
def make(argument, platform, settings):
    if argument not in ("red", "blue"):
        raise ValueError(f"no colour {argument!r}")
    return f"acme {argument}"
"""


class BackendTests(SynchronousTestCase):
    def thirdParty(self, plugin: str, name: str = "acme_pysmtpd") -> None:
        """Drop a plugin file into C{twisted/plugins/} of another directory on the path."""
        elsewhere = Path(self.mktemp())
        plugins = elsewhere / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / f"{name}.py").write_text(plugin)
        (elsewhere / "acme_stat.py").write_text(ACME)
        sys.path.insert(0, str(elsewhere))
        self.addCleanup(sys.path.remove, str(elsewhere))
        path = twisted.plugins.__path__
        path.insert(0, str(plugins))
        self.addCleanup(path.remove, str(plugins))
        self.addCleanup(sys.modules.pop, f"twisted.plugins.{name}", None)
        self.addCleanup(sys.modules.pop, "acme_stat", None)

    def test_shipped(self) -> None:
        self.assertEqual(forms("queue"), ["fs:[PATH]", "null:", "ram:", "sqlite:[PATH]"])
        self.assertEqual(forms("scheduler"), ["null:", "ram:"])
        self.assertEqual(forms("stat"), ["null:", "ram:"])
        self.assertEqual(forms("table"), ["db:PATH", "file:PATH", "getpwnam", "sqlite:PATH", "static:[PATH]"])

    def test_listingImportsNoBackend(self) -> None:
        program = (
            "import sys; from pysmtpd.backends import KINDS, forms; [forms(kind) for kind in KINDS];"
            "print([name for name in sys.modules if name.startswith('pysmtpd.')])"
        )
        root = Path(__file__).resolve().parent.parent
        listed = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
        rooms = {name.split(".")[1] for name in ast.literal_eval(listed.stdout)}
        self.assertEqual(rooms, {"backends", "interfaces", "model"})

    def test_unknownNameListsWhatExists(self) -> None:
        error = self.assertRaises(NoSuchBackend, findBackend, "queue", "redis")
        self.assertEqual(str(error), 'unknown queue backend "redis"; there are: fs:[PATH], null:, ram:, sqlite:[PATH]')

    def test_thirdPartyFromAnotherDirectory(self) -> None:
        self.thirdParty(THIRD_PARTY)
        made = makeBackend("stat", BackendSpec("acme", "red"), None, {})  # type: ignore[arg-type]
        self.assertEqual(made, "acme red")

    def test_wrongArgumentSaysTheForm(self) -> None:
        self.thirdParty(THIRD_PARTY)
        error = self.assertRaises(NoSuchBackend, makeBackend, "stat", BackendSpec("acme", "mauve"), None, {})
        self.assertEqual(str(error), "stat backend \"acme:mauve\": no colour 'mauve'; it is written acme:COLOUR")

    def test_whatCannotBeLoaded(self) -> None:
        """It names what is missing, in place of a traceback or of the form that the argument should have."""
        broken = "import no_such_module_anywhere\n"
        for place, content, said in (
            ("acme_stat", broken, "No module named 'no_such_module_anywhere'"),
            ("acme_other", ACME, "no attribute 'build'"),
            ("acme_nowhere", None, "acme_nowhere"),
        ):
            target = f"{place}.{'build' if content is ACME else 'make'}"
            self.thirdParty(THIRD_PARTY.replace("acme_stat.make", target), f"{place}_plugin")
            if content is not None:
                Path(sys.path[0], f"{place}.py").write_text(content)
            error = self.assertRaises(NoSuchBackend, makeBackend, "stat", BackendSpec("acme", "red"), None, {})
            self.assertTrue(str(error).startswith(f'stat backend "acme" cannot be loaded from {target}: '), error)
            self.assertIn(said, str(error))
            self.doCleanups()

    def test_twoOfOneNameAreAnError(self) -> None:
        self.thirdParty(THIRD_PARTY.replace('"acme"', '"ram"', 1).replace("acme:COLOUR", "ram:"))
        error = self.assertRaises(NoSuchBackend, findBackend, "stat", "ram")
        self.assertIn("acme_pysmtpd", str(error))
        self.assertIn("pysmtpd_backends", str(error))

    def test_anotherInterfaceVersion(self) -> None:
        self.thirdParty(THIRD_PARTY.replace('"acme_stat.make")', '"acme_stat.make", apiVersion=99)'))
        error = self.assertRaises(NoSuchBackend, findBackend, "stat", "acme")
        self.assertIn("interface version 99", str(error))

    def test_pluginThatCannotBeImportedHurtsNobody(self) -> None:
        """It is told with its file, in one line, and where it is missed; Twisted's traceback stands once until something changes."""
        self.thirdParty("import no_such_module_anywhere\n")
        self.assertEqual(findBackend("stat", "ram").name, "ram")
        path = Path(sys.path[0], "twisted", "plugins", "acme_pysmtpd.py").resolve()
        (fault,) = pluginFaults()
        self.assertEqual(
            fault,
            f"the plugin file {path} cannot be imported, and what it holds is missing: "
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        )
        error = self.assertRaises(NoSuchBackend, findBackend, "stat", "acme")
        self.assertEqual(str(error), f'unknown stat backend "acme"; there are: null:, ram:; {fault}')
        self.assertEqual(len(self.flushLoggedErrors(ImportError)), 1)
        path.write_text(f"{THIRD_PARTY}# mended\n")
        os.utime(path, (1, 1))
        self.assertEqual(findBackend("stat", "acme").name, "acme")
        self.assertEqual(pluginFaults(), [])

    def test_pluginWhoseModulesAreGone(self) -> None:
        """Twisted's list of plugins, which it keeps on the disk, has it yet."""
        self.thirdParty(f"import acme_stat\n{THIRD_PARTY}")
        self.assertEqual(findBackend("stat", "acme").name, "acme")
        Path(sys.path[0], "acme_stat.py").unlink()
        Path(sys.path[0], "twisted", "plugins", "another.py").write_text("")
        for name in ("acme_stat", "twisted.plugins.acme_pysmtpd"):
            del sys.modules[name]
        importlib.invalidate_caches()
        self.addCleanup(sys.modules.pop, "twisted.plugins.another", None)
        self.assertEqual(findBackend("stat", "ram").name, "ram")
        (fault,) = pluginFaults()
        self.assertIn("No module named 'acme_stat'", fault)

    def test_directoryThatCannotBeListed(self) -> None:
        """What is known goes on; what is not is told with the reason."""
        self.thirdParty(THIRD_PARTY)
        self.assertEqual(findBackend("stat", "acme").name, "acme")
        closed = str(Path(sys.path[0], "twisted", "plugins").resolve())
        listed = FilePath.listdir

        def refusing(path: FilePath[str]) -> list[str]:
            if path.path == closed:
                raise PermissionError(13, "Permission denied", closed)
            return listed(path)

        patched = self.patch(FilePath, "listdir", refusing)
        self.assertEqual(findBackend("stat", "acme").name, "acme")
        error = self.assertRaises(NoSuchBackend, findBackend, "stat", "nobody")
        fault = f"plugin files cannot be listed: [Errno 13] Permission denied: {closed!r}"
        self.assertIn(f"acme:COLOUR, null:, ram:; {fault}", str(error))
        patched.restore()
        self.assertEqual(findBackend("stat", "acme").name, "acme")
        self.assertEqual(pluginFaults(), [])
