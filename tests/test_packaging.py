"""Every way to install leaves the plugin where twistd finds it."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pysmtpd", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")

TWISTD_HELP = "import sys; sys.argv = ['twistd', '--help']; from twisted.scripts.twistd import run; run()"
BACKENDS = "from pysmtpd.backends import forms; print(forms('queue'))"


class InstallTests(SynchronousTestCase):
    """Each install goes into a fresh environment that borrows the libraries of this one, but not this one's pysmtpd."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        self.source = self.place / "source"
        for name in SOURCES:
            old, new = ROOT / name, self.source / name
            if old.is_dir():
                shutil.copytree(old, new, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
            else:
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(old, new)
        self.run_(sys.executable, "-m", "venv", "--without-pip", str(self.place / "venv"))
        self.python = str(self.place / "venv" / "bin" / "python")
        packages = next((self.place / "venv" / "lib").glob("python*/site-packages"))
        # A path that a .pth file adds has its own .pth files left alone, so an editable pysmtpd stays out.
        (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))

    def run_(self, *argv: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(argv, cwd=self.place, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def pip(self, *arguments: str) -> None:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python)
        self.run_(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *arguments)

    def build(self, kind: str) -> str:
        out = self.place / "dist"
        self.run_(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(self.source))
        return str(next(out.iterdir()))

    def assertInstalled(self, within: Path) -> None:
        where = self.run_(self.python, "-c", "import pysmtpd; print(pysmtpd.__file__)").strip()
        self.assertTrue(where.startswith(str(within)), where)
        self.assertIn(
            "A complete, durable, explainable mail transfer agent.", self.run_(self.python, "-c", TWISTD_HELP)
        )
        self.assertEqual(self.run_(self.python, "-c", BACKENDS), "['fs:[PATH]', 'null:', 'ram:', 'sqlite:[PATH]']\n")
        bin = self.place / "venv" / "bin"
        self.assertIn("Look at a running pysmtpd", self.run_(str(bin / "pysmtpctl"), "--help"))
        self.assertIn("--spool", self.run_(str(bin / "pysmtpd"), "--help"))

    def test_wheel(self) -> None:
        self.pip(self.build("wheel"))
        self.assertInstalled(self.place / "venv")

    def test_sdist(self) -> None:
        self.pip(self.build("sdist"))
        self.assertInstalled(self.place / "venv")

    def test_editable(self) -> None:
        self.pip("--editable", str(self.source))
        self.assertInstalled(self.source)

    def test_wheelShipsNoTests(self) -> None:
        names = self.run_(sys.executable, "-m", "zipfile", "-l", self.build("wheel"))
        self.assertNotIn("tests/", names)
        self.assertIn("pysmtpd/py.typed", names)
