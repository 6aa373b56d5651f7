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
