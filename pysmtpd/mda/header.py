"""What the mda reads in a message's header."""

from __future__ import annotations

from collections.abc import Sequence


def deliveredTo(content: bytes) -> Sequence[str]:
    """Addresses of the C{Delivered-To} fields, in lower case.

    @param content: the beginning of a message; what it does not hold of the header is not seen. Whoever adds the field
        adds it on top.
    """
    head = b"" if content.startswith(b"\r\n") else content.partition(b"\r\n\r\n")[0]
    if b"delivered-to:" not in head.lower():
        return ()
    addresses = []
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"delivered-to":
            addresses.append(value.strip().decode("utf-8", "replace").lower())
    return addresses


def isSpam(content: bytes) -> bool:
    """Does a field of the header say so: C{X-Spam: Yes}, C{X-Spam-Flag: YES}?

    @param content: the beginning of a message.
    """
    head = b"" if content.startswith(b"\r\n") else content.partition(b"\r\n\r\n")[0].lower()
    if b"x-spam" not in head:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip() in (b"x-spam", b"x-spam-flag") and value.strip() == b"yes":
            return True
    return False
