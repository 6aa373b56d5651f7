"""Limits that are shipped: large providers by the names of their mail hosts.

They are courtesy, not throttles: a sender of usual size never meets them. Who sends more has agreed with the provider on more,
and says so with C{mta rate for provider}. What a provider really thinks of us it says in its replies, and those count beside.
"""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.model.shaping import CONNECTIONS, MESSAGES, Rate


class Provider(NamedTuple):
    """
    @ivar patterns: of names of its mail hosts; C{*} is any text.
    @ivar reason: why these rates.
    """

    name: str
    patterns: tuple[str, ...]
    rates: tuple[Rate, ...]
    reason: str


PROVIDERS = (
    Provider(
        "google",
        ("*.google.com", "*.googlemail.com"),
        (Rate(CONNECTIONS, 20, 0.0), Rate(MESSAGES, 1200, 60.0)),
        "judges by sending address and domain, and answers 421 4.7.28 to sudden volume: steady is better than fast",
    ),
    Provider(
        "microsoft",
        ("*.protection.outlook.com", "*.olc.protection.outlook.com", "*.mx.microsoft"),
        (Rate(CONNECTIONS, 20, 0.0), Rate(MESSAGES, 1200, 60.0)),
        "refuses too many connections of one address, and slows senders that it does not know yet (451 4.7.500, 4.7.650)",
    ),
    Provider(
        "yahoo",
        ("*.yahoodns.net",),
        (Rate(CONNECTIONS, 10, 0.0), Rate(MESSAGES, 600, 60.0)),
        "wants few connections with few messages each, and defers with 421 4.7.0 [TSS04] who sends too much",
    ),
    Provider(
        "apple",
        ("*.mail.icloud.com",),
        (Rate(CONNECTIONS, 10, 0.0), Rate(MESSAGES, 600, 60.0)),
        "asks senders of much mail to keep to few connections at a time",
    ),
    Provider(
        "comcast",
        ("*.comcast.net",),
        (Rate(CONNECTIONS, 10, 0.0),),
        "bounds the connections that one address has at a time",
    ),
    Provider(
        "orange",
        ("*.orange.fr", "*.wanadoo.fr"),
        (Rate(CONNECTIONS, 2, 0.0), Rate(MESSAGES, 120, 60.0)),
        "takes very few connections of one address at a time, for all its domains together",
    ),
    Provider(
        "gmx",
        ("*.gmx.net", "*.web.de", "*.kundenserver.de"),
        (Rate(CONNECTIONS, 5, 0.0),),
        "bounds the connections that one address has at a time, for all its domains together",
    ),
    Provider(
        "t-online",
        ("*.t-online.de",),
        (Rate(CONNECTIONS, 5, 0.0),),
        "bounds the connections that one address has at a time",
    ),
    Provider(
        "qq",
        ("*.qq.com",),
        (Rate(CONNECTIONS, 5, 0.0), Rate(MESSAGES, 120, 60.0)),
        "takes few connections of one address at a time, and bounds how often",
    ),
)
