"""What can go wrong with a simulated disk."""

from __future__ import annotations

import errno
from dataclasses import dataclass


class PowerCut(BaseException):
    """The machine went off in the middle of this operation. Nothing but the simulated platform may catch it."""


@dataclass(slots=True)
class DiskFailure:
    """An operation that is going to fail.

    @ivar operation: name of a method of L{IDisk} or L{IFile}, or C{commit} for a database.
    @ivar code: of C{errno}.
    @ivar after: so many matching operations still work.
    @ivar times: then so many fail; None: all.
    @ivar path: only where the path holds this text.
    """

    operation: str
    code: int = errno.EIO
    after: int = 0
    times: int | None = 1
    path: str = ""

    def strikes(self, operation: str, path: str) -> bool:
        """Count this operation; does it fail?"""
        if operation != self.operation or self.path not in path or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
