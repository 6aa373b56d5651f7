"""The drawings of docs/delivery.md, from the code's own tables.

    python -m tests.mta.drawings

writes them into the page; tests/mta/test_states.py holds the page against the tables, and the tables against what happens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from pysmtpd.mta.states import RELAY_TURNS, ROUTE_TURNS
from pysmtpd.smtp.client_stages import STAGE_TURNS

PAGE = Path(__file__).parent.parent.parent / "docs" / "delivery.md"
E = TypeVar("E", bound=Enum)


def _name(state: Enum) -> str:
    return str(state.value).replace(" ", "_").replace("-", "_")


def drawing(turns: Mapping[E, Mapping[E, str]]) -> str:
    """A state diagram, in Mermaid's language."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {_name(state)}: {state.value}" for state in turns if _name(state) != state.value]
    lines.append(f"    [*] --> {_name(next(iter(turns)))}")
    for state, after in turns.items():
        lines += [f"    {_name(state)} --> {_name(then)}: {why}" for then, why in after.items()]
    return "\n".join((*lines, "```"))


DRAWINGS = {
    "A relay, as `show relays` says it": drawing(RELAY_TURNS),
    "A route, as `show routes` says it": drawing(ROUTE_TURNS),
    "A session, as `show connections` says it": drawing(STAGE_TURNS),
}


def page(text: str) -> str:
    """The whole page, with what is drawn now."""
    for title, drawn in DRAWINGS.items():
        pattern = rf"(?s)(\n### {re.escape(title)}\n\n)```mermaid\n.*?\n```"
        text, count = re.subn(pattern, lambda match, drawn=drawn: match[1] + drawn, text)  # type: ignore[misc]
        assert count == 1, title
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
