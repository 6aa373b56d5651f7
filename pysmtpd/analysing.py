"""What is to be said of a configuration's rules as a whole; all of it is values, so a lane may do it."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.model.config import Config
from pysmtpd.model.question import Answer, Service, TempFail
from pysmtpd.ruleset.analysis import Relaying, Tables, relaying, shadowed
from pysmtpd.table.content import Content


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    @ivar warnings: each with its place.
    """

    relaying: Relaying
    warnings: tuple[str, ...]


def analyse(config: Config) -> Analysis:
    """Rules that can never match, and whether strangers can relay. Of tables only those in the file itself are looked into."""
    contents = {name: Content(spec.entries) for name, spec in config.tables.items() if spec.backend.name == "static"}

    def match(table: str, service: Service, key: str) -> bool | None:
        content = contents.get(table)
        return None if content is None or service is Service.REGEX else content.match(service, key)

    def lookup(table: str, service: Service, key: str) -> Answer:
        content = contents.get(table)
        return TempFail("it is not in the configuration itself") if content is None else content.lookup(service, key)

    tables = Tables(match, lookup, lambda table: table in contents)
    verdict = relaying(config, tables)
    warnings = [f"{where}: {why}" for where, why in shadowed(config, tables)]
    if verdict.verdict == "open":
        place = f"{verdict.where}: " if verdict.where is not None else ""
        warnings.append(f"{place}open relay: anybody can relay to foreign domains: {verdict.reason}")
    return Analysis(verdict, tuple(warnings))
