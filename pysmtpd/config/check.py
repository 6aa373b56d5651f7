"""What can only be judged when the whole file is read: what is missing and what is never used."""

from __future__ import annotations

from collections.abc import Iterator

from pysmtpd.config.draft import Draft
from pysmtpd.config.problem import Finding, didYouMean
from pysmtpd.model.config import NOWHERE
from pysmtpd.model.decision import Where
from pysmtpd.model.providers import PROVIDERS


def check(draft: Draft, file: str) -> None:
    """Tell problems and warnings of the file as a whole."""
    for pki in draft.pki.values():
        for what, path in (("certificate", pki.cert), ("key", pki.key)):
            if not path and ("pki", pki.name) not in draft.failed:
                draft.problems.add(pki.where, f'pki "{pki.name}" has no {what}')
    if not draft.ruleCount and not draft.problems.told:
        draft.problems.add(Where(file, 1), 'there is no "match" rule: no mail could be accepted')
    if draft.places.get("srs") and not draft.srs.key:
        draft.problems.warn(draft.places["srs"], 'nothing is rewritten without a key: srs key "..."')
    known = {*draft.mtaProviders, *(provider.name for provider in PROVIDERS)}
    for rule in draft.mtaRates:
        if rule.kind == "provider" and rule.name not in known:
            draft.problems.add(
                rule.where, f'there is no provider "{rule.name}"{didYouMean(rule.name, sorted(known))}', Finding.CHECK
            )
    if draft.problems.found(Finding.LANGUAGE, Finding.CHECK):
        # Perhaps the lines that use it could not be read.
        return
    for kind, declared in _declared(draft):
        for name, where in declared.items():
            if where is not NOWHERE and not name.startswith("<") and (kind, name) not in draft.used:
                draft.problems.warn(where, f'{kind} "{name}" is never used')


def _declared(draft: Draft) -> Iterator[tuple[str, dict[str, Where]]]:
    yield "table", {name: spec.where for name, spec in draft.tables.items()}
    yield "action", {name: action.where for name, action in draft.actions.items()}
    yield "pki", {name: spec.where for name, spec in draft.pki.items()}
    yield "ca", {name: spec.where for name, spec in draft.ca.items()}
    yield "mda wrapper", {name: draft.places[f"mda wrapper {name}"] for name in draft.wrappers}
    yield "proc", {name: spec.where for name, spec in draft.procs.items()}
    yield "filter", {name: spec.where for name, spec in draft.filters.items()}
