"""What the directives of an old file know of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pysmtpd.config.token import Token


class Context:
    """
    @ivar hasAuth: clients may log in. They were local to the rules of old.
    @ivar listens: this file listens, so that C{hasAuth} is known.
    @ivar filters: this file has filters of today.
    @ivar hasLocalRules: there was a rule for local sessions that did not say whether they had authenticated.
    @ivar pki: names of certificates that have been declared.
    @ivar maps: names of tables that have been declared by C{map}, to which rules refer without brackets.
    @ivar note: what somebody should look at in the directive that is being converted.
    """

    def __init__(self, lines: Iterable[Sequence[Token]]) -> None:
        self.pki: list[str] = []
        self.maps: set[str] = set()
        self.note = ""
        self._actions: dict[str, str] = {}
        self._names: set[str] = set()
        self.hasAuth = self.listens = self.filters = self.hasLocalRules = False
        for first, *others in lines:
            words = [token.text for token in others]
            if first.text == "listen":
                self.listens = True
                self.hasAuth = self.hasAuth or not {"auth", "auth-optional"}.isdisjoint(words)
            elif first.text == "action":
                self._names.update(words[:1])
            elif first.text == "filter":
                self.filters = self.filters or not {"proc", "proc-exec", "phase", "chain"}.isdisjoint(words)

    def action(self, said: str) -> tuple[str, list[str]]:
        """The name of an action that does this, and its line if it is a new one."""
        if said in self._actions:
            return self._actions[said], []
        name = method = said.split(" ")[0]
        number = 1
        while name in self._names:
            number += 1
            name = f"{method}_{number}"
        self._names.add(name)
        self._actions[said] = name
        return name, [f'action "{name}" {said}']
