"""The one place where the World touches the composition root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pysmtpd.model.events import Event
from pysmtpd.testing.platform import SimulatedPlatform

CONFIG_PATH = "/etc/pysmtpd/smtpd.conf"
SPOOL = "/var/spool/pysmtpd"


def buildDaemon(platform: SimulatedPlatform, observer: Callable[[float, Event], None], settings: dict[str, Any]) -> Any:
    """The daemon, unmodified, from the configuration that lies on the platform's disk.

    @param settings: of L{pysmtpd.settings.Settings}, in place of the usual.
    @return: a service with C{startService} and C{stopService}.
    @raise ConfigErrors: with every problem of the configuration.
    """
    from pysmtpd.config import Environment, load  # type: ignore[attr-defined,unused-ignore]
    from pysmtpd.service import build  # type: ignore[import-not-found,unused-ignore]
    from pysmtpd.settings import Settings  # type: ignore[import-not-found,unused-ignore]

    def read(path: str) -> str:
        return platform.disk.read(path).decode("utf-8")

    def resolve(name: str) -> Sequence[str]:
        return ()

    environment = Environment(platform.hostname, platform.localAddresses(), platform.interfaces(), resolve)

    def again() -> Any:
        return load(CONFIG_PATH, read, environment)

    return build(platform, again(), Settings(**{"spool": SPOOL, "observers": (observer,), "load": again, **settings}))
