"""Plugins from another directory on the path."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted.plugins
from tests.daemon.seams import PLUGIN


def write(place: Path) -> Path:
    """Drop the plugin file into C{twisted/plugins/} below C{place}; give that directory."""
    plugins = place / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "seams_of_others.py").write_text(PLUGIN)
    return plugins


def install(case: SynchronousTestCase) -> None:
    """For this process, while the test runs."""
    plugins = str(write(Path(case.mktemp()).resolve()))
    path = twisted.plugins.__path__
    path.insert(0, plugins)
    case.addCleanup(path.remove, plugins)
    case.addCleanup(sys.modules.pop, "twisted.plugins.seams_of_others", None)
