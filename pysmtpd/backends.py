"""From C{"name:argument"} to a backend, through Twisted's plugins.

A plugin is data: kind, name, form, and the dotted name of a function that makes the backend. Listing plugins imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.plugin import CachedDropin, IPlugin, getCache
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


# The plugin files of the start, by the names of their modules, for who may not read their directories later.
_ahead: dict[str, CachedDropin] = {}


def _listed() -> dict[str, CachedDropin]:
    return {dropin.moduleName: dropin for dropin in getCache(twisted.plugins).values()}


def loadTables() -> None:
    """Load every kind of table, so that it can be had when its files, and those of the plugins, can no longer be read."""
    _ahead.update(_listed())
    for _, maker in _installed("table"):
        if isinstance(maker, BackendMaker):
            # Whoever names one that cannot be loaded is told so then.
            with suppress(NoSuchBackend):
                maker.load()


def _installed(kind: str) -> Iterator[tuple[str, IBackendMaker]]:
    """Every plugin of a kind, with the module that holds it, in the order of module names."""
    for _, dropin in sorted((_ahead | _listed()).items()):
        for cached in dropin.plugins:
            if IBackendMaker in cached.provided:
                maker: IBackendMaker = cached.load()
                if maker.kind == kind:
                    yield dropin.moduleName, maker


def forms(kind: str) -> list[str]:
    """How each installed backend of a kind is written."""
    return sorted(maker.form for _, maker in _installed(kind))


def findBackend(kind: str, name: str) -> IBackendMaker:
    """
    @raise NoSuchBackend: none has the name, two have it, or it was written for another version of the interface.
    """
    found = [(module, maker) for module, maker in _installed(kind) if maker.name == name]
    if not found:
        raise NoSuchBackend(f'unknown {kind} backend "{name}"; there are: {", ".join(forms(kind)) or "none"}')
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
