"""Content is stored compressed."""

from __future__ import annotations

import zlib
from typing import Final

from zope.interface import implementer

from pysmtpd.interfaces.queue import IContentStream

NAME: Final = "zlib"

_LEVEL = 3
"""Mail is base64 and text: from here on up each level costs more time than it saves room."""


@implementer(IContentStream)
class Compressing:
    __slots__ = ("_zlib",)

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(_LEVEL)

    def feed(self, chunk: bytes) -> bytes:
        return self._zlib.compress(chunk)

    def finish(self) -> bytes:
        return self._zlib.flush()


@implementer(IContentStream)
class Decompressing:
    __slots__ = ("_zlib",)

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj()

    def feed(self, chunk: bytes) -> bytes:
        try:
            plain = self._zlib.decompress(chunk)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if self._zlib.unused_data:
            raise ValueError("something follows its end")
        return plain

    def finish(self) -> bytes:
        if not self._zlib.eof:
            raise ValueError("it is cut off")
        return b""
