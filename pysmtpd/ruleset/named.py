"""Which recipients a configuration names. All others are foreign."""

from __future__ import annotations

from collections.abc import Iterator

from pysmtpd.model.config import Config, Predicate
from pysmtpd.model.question import Service
from pysmtpd.ruleset.sights import Tables, tablesOf

# Of C{*.example.org}: a pattern with fewer dots names nobody.
_DOTS = 2


def isNaming(domain: str) -> bool:
    """Does an entry say a domain by its name, or those beneath one of two labels at least?"""
    return "*" not in domain or (domain.startswith("*.") and "*" not in domain[1:] and domain.count(".") >= _DOTS)


def _naming(domain: str) -> Iterator[str]:
    """The entries that name a domain."""
    yield domain
    at = domain.find(".")
    while at >= 0 and domain.count(".", at) >= _DOTS:
        yield f"*{domain[at:]}"
        at = domain.find(".", at + 1)


class Named:
    def __init__(self, config: Config, tables: Tables) -> None:
        self._own = config.serverName.lower()
        self._holds = tables.holds
        self._domains = tablesOf(config, Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)
        self._addresses = tablesOf(config, Predicate.RCPT_TO)

    def isNamed(self, local: str, domain: str) -> bool:
        """Is it one of those that the rules are for?

        @param domain: in lower case.
        """
        if domain == self._own:
            return True
        holds = self._holds
        for entry in _naming(domain):
            if any(holds(table, Service.DOMAIN, entry) for table in self._domains):
                return True
            for table in self._addresses:
                if holds(table, Service.MAILADDR, f"@{entry}") or holds(table, Service.MAILADDR, f"{local}@{entry}"):
                    return True
        return False
