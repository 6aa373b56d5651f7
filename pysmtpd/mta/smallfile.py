"""Small files in the spool that are read and replaced as a whole. Everything here blocks: it runs in a lane."""

from __future__ import annotations

from contextlib import suppress

from pysmtpd.interfaces.platform import IDisk


def readWhole(disk: IDisk, path: str) -> bytes:
    """Its content; nothing if it is not there."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return b""
    parts = []
    try:
        while part := file.read(1 << 20):
            parts.append(part)
    finally:
        file.close()
    return b"".join(parts)


def replaceWhole(disk: IDisk, path: str, content: bytes) -> None:
    """Durable, and never half of it, once this returned."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        disk.unlink(new)
    file = disk.create(new)
    try:
        file.write(content)
        file.sync()
    finally:
        file.close()
    disk.rename(new, path)
    disk.syncDirectory(path.rpartition("/")[0])
