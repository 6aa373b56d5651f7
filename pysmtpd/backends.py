"""From C{"name:argument"} to a backend, through Twisted's plugins.

A plugin is data: kind, name, form, and the dotted name of a function that makes the backend. Listing plugins imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.plugin import IPlugin, getCache
from twisted.python.modules import PythonModule, getModule
from twisted.python.reflect import InvalidName, namedAny
from zope.interface import implementer

import twisted.plugins
from pysmtpd.interfaces import API_VERSION, IBackendMaker, IPlatform
from pysmtpd.model.table import NOWHERE, BackendSpec

KINDS = ("queue", "scheduler", "stat", "table")


class NoSuchBackend(Exception):
    """No usable plugin of this kind and name; the text says what there is."""


@implementer(IPlugin, IBackendMaker)
@dataclass(frozen=True)
class BackendMaker:
    """One backend, as a plugin file names it.

    @ivar kind: queue, scheduler, stat or table.
    @ivar name: what stands before the colon.
    @ivar form: how it is written, for people: C{"sqlite:PATH"}.
    @ivar target: dotted name of a function C{(argument, platform, settings) -> backend}; imported when it is used.
    """

    kind: str
    name: str
    form: str
    target: str
    apiVersion: int = API_VERSION

    def make(self, argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> Any:
        """See L{IBackendMaker.make}.

        @raise NoSuchBackend: the target is not there, or cannot be imported.
        """
        return self.load()(argument, platform, settings)

    def load(self) -> Callable[[str, IPlatform, Mapping[str, Any]], Any]:
        """
        @return: the target.
        @raise NoSuchBackend: it is not there, or cannot be imported.
        """
        try:
            make: Callable[[str, IPlatform, Mapping[str, Any]], Any] = namedAny(self.target)
        except (ImportError, SyntaxError, AttributeError, InvalidName) as error:
            raise NoSuchBackend(
                f'{self.kind} backend "{self.name}" cannot be loaded from {self.target}: {error}'
            ) from error
        return make


class _Plugins:
    """What the plugin files hold. They are read again when there are others, so that one that cannot be read is told once.

    @ivar faults: the files that are of no use, each with its reason.
    """

    def __init__(self) -> None:
        self.faults: Sequence[str] = ()
        self._files: Sequence[tuple[str, float]] | None = None
        self._found: Mapping[str, Sequence[IBackendMaker]] = {}
        self._kept: Mapping[str, Sequence[IBackendMaker]] = {}

    def makers(self) -> Iterator[tuple[str, IBackendMaker]]:
        """Every backend's, with the module that holds it, in the order of module names."""
        try:
            modules = list(getModule(twisted.plugins.__name__).iterModules())
            files = [(module.filePath.path, _modified(module.filePath)) for module in modules]
            if files != self._files:
                self._read(modules)
                self._files = files
        except OSError as error:
            # One directory of them may be closed to whom the daemon has become.
            self.faults, self._files = [f"plugin files cannot be listed: {error}"], None
        for module, makers in sorted({**self._kept, **self._found}.items()):
            for maker in makers:
                yield module, maker

    def keep(self) -> None:
        """They can be had from now on though their files can no longer be read."""
        for _ in self.makers():
            pass
        self._kept = self._found

    def _read(self, modules: Sequence[PythonModule]) -> None:
        dropins = getCache(twisted.plugins)
        found: dict[str, Sequence[IBackendMaker]] = {}
        faults = []
        for module in modules:
            dropin = dropins.get(module.name.rpartition(".")[2])
            try:
                if dropin is None:
                    module.load()
                else:
                    made = [cached.load() for cached in dropin.plugins if IBackendMaker in cached.provided]
                    found[dropin.moduleName] = made
            except (Exception, SystemExit) as error:
                path, why = module.filePath.path, f"{type(error).__name__}: {error}"
                faults.append(f"the plugin file {path} cannot be imported, and what it holds is missing: {why}")
        self._found, self.faults = found, faults


def _modified(file: Any) -> float:
    modified: float = file.getModificationTime() if file.exists() else 0.0
    return modified


_plugins = _Plugins()


def pluginFaults() -> Sequence[str]:
    """What is wrong with plugin files, for people."""
    return _plugins.faults


def loadTables() -> None:
    """Load every kind of table, so that it can be had when its files, and those of the plugins, can no longer be read."""
    _plugins.keep()
    for _, maker in _installed("table"):
        if isinstance(maker, BackendMaker):
            # Whoever names one that cannot be loaded is told so then.
            with suppress(NoSuchBackend):
                maker.load()


def _installed(kind: str) -> Iterator[tuple[str, IBackendMaker]]:
    """Every plugin of a kind, with the module that holds it, in the order of module names."""
    return ((module, maker) for module, maker in _plugins.makers() if maker.kind == kind)


def forms(kind: str) -> list[str]:
    """How each installed backend of a kind is written."""
    return sorted(maker.form for _, maker in _installed(kind))


def findBackend(kind: str, name: str) -> IBackendMaker:
    """
    @raise NoSuchBackend: none has the name, two have it, or it was written for another version of the interface.
    """
    found = [(module, maker) for module, maker in _installed(kind) if maker.name == name]
    if not found:
        told = f'unknown {kind} backend "{name}"; there are: {", ".join(forms(kind)) or "none"}'
        raise NoSuchBackend("; ".join((told, *_plugins.faults)))
    if len(found) > 1:
        places = " and ".join(module for module, _ in found)
        raise NoSuchBackend(f'{kind} backend "{name}" is defined by both {places}; remove one of them')
    module, maker = found[0]
    if maker.apiVersion != API_VERSION:
        raise NoSuchBackend(
            f'{kind} backend "{name}" of {module} was written for interface version {maker.apiVersion}; this is {API_VERSION}'
        )
    return maker


def makeBackend(kind: str, spec: BackendSpec, platform: IPlatform, settings: Mapping[str, Any]) -> Any:
    """
    @raise NoSuchBackend: see L{findBackend}; or the argument is wrong. It names the line that the backend stands in.
    """
    try:
        return makeBy(findBackend(kind, spec.name), spec, platform, settings)
    except NoSuchBackend as error:
        raise NoSuchBackend(f"{spec.where}: {error}" if spec.where is not NOWHERE else str(error)) from error


def makeBy(maker: IBackendMaker, spec: BackendSpec, platform: IPlatform, settings: Mapping[str, Any]) -> Any:
    """
    @raise NoSuchBackend: the argument is wrong.
    """
    try:
        return maker.make(spec.argument, platform, settings)
    except ValueError as error:
        raise NoSuchBackend(f'{maker.kind} backend "{spec}": {error}; it is written {maker.form}') from error
