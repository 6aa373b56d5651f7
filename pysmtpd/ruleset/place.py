"""Where an expansion stands."""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.model.address import Path
from pysmtpd.model.config import Action
from pysmtpd.model.question import UserInfo
from pysmtpd.ruleset.compile import CompiledRule


class Place(NamedTuple):
    """Where in the tree a node stands.

    @ivar rule: the one whose local action it belongs to.
    @ivar path: the address that this rule took.
    @ivar parent: the user whose name or .forward gave the node; the same name again is that user, not another alias. It has its sub-address
        where the table knows it with that.
    @ivar depth: how many expansions led here.
    @ivar table: the one that gave the node, itself or by an included file; empty: a .forward did.
    @ivar owner: whose .forward gave the node, who is delivered to if it gives the same name again; None: a table did.
    @ivar isIncluded: a file that a table named gave the node.
    """

    rule: CompiledRule
    action: Action
    path: Path
    parent: str = ""
    depth: int = 0
    table: str = ""
    owner: UserInfo | None = None
    isIncluded: bool = False
