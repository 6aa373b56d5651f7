"""Open descriptors that others have made."""

from __future__ import annotations

import os
from collections.abc import Callable

# Octets of one call: a pipe takes no more.
PIECE = 65_536


def descriptorSink(descriptor: int) -> Callable[[bytes], int]:
    """Writes what it is called with to an open descriptor, such as standard error's, which may be blocking or not, and is not closed.

    It returns how many octets went, and raises L{OSError} if none did. It may block: call it inside a lane only.
    """

    def write(data: bytes) -> int:
        done = 0
        view = memoryview(data)
        while done < len(data):
            try:
                done += os.write(descriptor, view[done : done + PIECE])
            except BlockingIOError:
                break
            except OSError:
                if not done:
                    raise
                break
        return done

    return write
