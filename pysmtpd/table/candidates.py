"""For backends that can only be asked for a key: which keys stand for a name or an address. In docs/tables.md, "Lookup keys"."""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.table.glob import starred


def domainKeys(name: str, labels: bool = True, tails: Sequence[int] = (0,)) -> list[str]:
    """
    @param labels: there may be keys C{*.domain}.
    @param tails: lengths of what may follow the star of C{*domain}; 0 is C{*} alone.
    """
    keys = [name, *(starred(name) if labels else ())]
    return keys + [f"*{name[len(name) - length :]}" for length in tails if length <= len(name)]


def addressKeys(address: str, labels: bool = True, tails: Sequence[int] = ()) -> list[str]:
    """C{@} stands for all; the null path is C{<>}."""
    if not address:
        return ["<>", "@"]
    local, at, domain = address.rpartition("@")
    if not at:
        return [address, "@"]
    keys = [address, local, f"@{domain}"]
    patterns = [*(starred(domain) if labels else ())]
    patterns += [f"*{domain[len(domain) - length :]}" for length in tails if length <= len(domain)]
    for pattern in patterns:
        keys += (f"{local}@{pattern}", f"@{pattern}")
    return [*keys, "@"]
