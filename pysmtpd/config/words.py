"""The reserved words of smtpd.conf(5), OpenSMTPD 7.8. Each must be quoted to be used as a string.

Our own words (all other literals of grammar.lark) are contextual: they are keywords only where no string may stand.
"""

from __future__ import annotations

_WORDS = """
    action admd alias any auth auth-optional backup bounce bypass ca cert chain chroot ciphers commit compression connect data
    data-line dhe disconnect domain ehlo encryption expand-only fcrdns filter for forward-only from group helo helo-src host
    hostname hostnames include inet4 inet6 junk key limit listen lmtp local mail-from maildir mask-src masquerade match
    max-deferred max-message-size mbox mda mta mx no-dsn no-verify noop on phase pki port proc proc-exec protocols proxy-v2 queue
    quit rcpt-to rdns received-auth recipient regex reject relay report rewrite rset scheduler senders smtp smtp-in smtp-out
    smtps socket src srs sub-addr-delim table tag tagged tls tls-require ttl user userbase verify virtual warn-interval wrapper
"""

RESERVED = frozenset(_WORDS.split())
