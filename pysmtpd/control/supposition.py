"""The options of C{explain}, live and offline alike."""

from __future__ import annotations

import argparse
from typing import Any


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is supposed."""
    parser.add_argument(
        "--from", dest="sender", required=True, metavar="ADDRESS", help='the sender; "" is the null sender'
    )
    parser.add_argument(
        "--rcpt", dest="recipients", required=True, nargs="+", action="extend", metavar="ADDRESS", help="recipients"
    )
    parser.add_argument("--peer", default="", metavar="IP", help='who connects; "local": the local socket')
    parser.add_argument(
        "--rdns", metavar="NAME", help="the peer's confirmed name (default: what DNS says, where it is asked)"
    )
    parser.add_argument("--helo", default="", metavar="NAME", help="what it calls itself")
    parser.add_argument("--auth", dest="user", default="", metavar="USER", help="whom it authenticates as")
    parser.add_argument("--tls", action="store_true", help="it uses TLS")
    parser.add_argument("--tag", default="", help="it comes to a listener with this tag")
    parser.add_argument(
        "--listener", default="", help="it comes to this listener: ADDRESS:PORT, an interface, a port, or socket"
    )
    parser.add_argument("--size", type=int, default=0, metavar="OCTETS", help="the size that it declares")
    parser.add_argument("-v", dest="verbose", action="store_true", help="also show what tables and users answered")


_NAMES = ("sender", "recipients", "peer", "rdns", "helo", "user", "tls", "tag", "listener", "size")


def values(options: argparse.Namespace) -> dict[str, Any]:
    """What was said, as the control protocol wants it. Brackets around addresses are no matter."""
    said = {name: getattr(options, name) for name in _NAMES}
    said["sender"] = _bare(said["sender"])
    said["recipients"] = [_bare(recipient) for recipient in said["recipients"]]
    return said


def _bare(address: str) -> str:
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address
