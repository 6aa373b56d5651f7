"""Content at rest: compressed, encrypted, both; whatever was written is read again, and nothing that was changed is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.queue import IContentCodec, IContentStream
from pysmtpd.model.ids import MessageId
from pysmtpd.queue.codec import ContentCodec

KEY, OTHER = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
MESSAGE = MessageId(0x18BCFE56800001)


def counting() -> Callable[[int], bytes]:
    """Octets that repeat in no two calls, and are the same in each run."""
    calls = 0

    def secret(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_128(calls.to_bytes(8, "big")).digest(size)

    return secret


CODECS = {
    "plain": lambda: ContentCodec(counting()),
    "compressed": lambda: ContentCodec(counting(), isCompressing=True),
    "encrypted": lambda: ContentCodec(counting(), key=KEY),
    "both": lambda: ContentCodec(counting(), isCompressing=True, key=KEY),
}


def through(stream: IContentStream, content: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Fed in pieces that end where C{cuts} say."""
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    pieces = [content[start:end] for start, end in pairwise(places)]
    return b"".join([*map(stream.feed, pieces), stream.finish()])


def stored(codec: ContentCodec, content: bytes, cuts: Sequence[int] = ()) -> bytes:
    return through(codec.encoder(MESSAGE), content, cuts)


def contents() -> st.SearchStrategy[bytes]:
    """Small ones of all kinds, and such as need several frames."""
    return st.one_of(
        st.binary(max_size=300), st.builds(lambda part, times: part * times, st.binary(max_size=40), SIZES)
    )


SIZES = st.integers(0, 9000)
CUTS = st.lists(st.integers(0, 400_000), max_size=6)


class ContentCodecTests(SynchronousTestCase):
    def test_interface(self) -> None:
        for make in CODECS.values():
            verifyObject(IContentCodec, make())

    @given(st.sampled_from(["compressed", "encrypted", "both"]), contents(), CUTS, CUTS)
    def test_roundTrip(self, name: str, content: bytes, in_: list[int], out: list[int]) -> None:
        """Wherever it is cut, on the way in and on the way out."""
        codec = CODECS[name]()
        kept = stored(codec, content, in_)
        self.assertEqual(content, through(codec.decoder(codec.name, MESSAGE), kept, out))

    @given(st.sampled_from(["encrypted", "both"]), st.binary(max_size=200), st.data())
    def test_whatWasChangedIsRefused(self, name: str, content: bytes, data: st.DataObject) -> None:
        codec = CODECS[name]()
        kept = stored(codec, content)
        place = data.draw(st.integers(0, len(kept) - 1))
        changed = kept[:place] + bytes([kept[place] ^ data.draw(st.integers(1, 255))]) + kept[place + 1 :]
        for wrong in (changed, kept[:place], kept + b"\0", kept + kept):
            self.assertRaises(ValueError, through, codec.decoder(codec.name, MESSAGE), wrong)

    def test_framesCannotBeMovedOrLeftOut(self) -> None:
        codec = CODECS["encrypted"]()
        kept = stored(codec, bytes(200_000))
        frame = 4 + 65_536 + 16
        first, second, rest = kept[16 : 16 + frame], kept[16 + frame : 16 + 2 * frame], kept[16 + 2 * frame :]
        self.assertEqual(kept, kept[:16] + first + second + rest)
        for wrong in (second + first + rest, first + rest, first + second, first + first + rest):
            self.assertRaises(ValueError, through, codec.decoder(codec.name, MESSAGE), kept[:16] + wrong)

    def test_itBelongsToItsMessage(self) -> None:
        codec = CODECS["encrypted"]()
        kept = stored(codec, b"secret")
        self.assertNotEqual(kept, stored(codec, b"secret"))
        self.assertRaises(ValueError, through, codec.decoder(codec.name, MessageId(MESSAGE + 1)), kept)

    def test_whatIsCutOffIsNoticed(self) -> None:
        codec = CODECS["compressed"]()
        kept = stored(codec, b"x" * 1000)
        self.assertLess(len(kept), 100)
        for wrong in (kept[:-1], b"", kept + b"x", b"no zlib"):
            self.assertRaises(ValueError, through, codec.decoder("zlib", MESSAGE), wrong)

    def test_names(self) -> None:
        """They are in every spool: they stay as they are."""
        names = [make().name for make in CODECS.values()]
        self.assertEqual(["", "zlib", "aesgcm/5d39403c", "zlib+aesgcm/5d39403c"], names)

    def test_whateverIsConfiguredTheOldIsRead(self) -> None:
        """As long as its key is there."""
        for name in ("compressed", "encrypted", "both"):
            old = CODECS[name]()
            kept = stored(old, b"content")
            for new in (
                ContentCodec(counting(), backupKey=KEY),
                ContentCodec(counting(), key=OTHER, backupKey=KEY),
                ContentCodec(counting(), isCompressing=True, key=KEY),
            ):
                self.assertEqual(b"content", through(new.decoder(old.name, MESSAGE), kept))

    def test_whatIsMissingIsNamed(self) -> None:
        codec = ContentCodec(counting(), key=OTHER)
        for name, said in (("aesgcm/5d39403c", "5d39403c"), ("zlib+aesgcm/5d39403c", "5d39403c"), ("lzma", "know")):
            error = self.assertRaises(LookupError, codec.decoder, name, MESSAGE)
            self.assertIn(said, str(error))
