"""Whether a user may read a directory, as far as modes say it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path


def obstacle(path: str, uid: int, gids: Collection[int]) -> str:
    """The first directory on the way to C{path}, or itself, that the user may not enter; empty: there is none, or C{path} is not there."""
    real = Path(os.path.realpath(path))
    for directory in (*reversed(real.parents), real):
        try:
            found = os.stat(directory)
        except OSError:
            return ""
        if found.st_uid == uid:
            bit = stat.S_IXUSR
        elif found.st_gid in gids:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not found.st_mode & bit:
            return str(directory)
    return ""
