"""Configurations, and recipients to be asked of each: see tests/e2e/differential.py."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

# A foreign peer without a name; friend.example.com is .10, mail.example.net .11, and the name of .12 does not lead back.
FOREIGN = "203.0.113.7"
PASSWORD = "open sesame"


@dataclass(frozen=True)
class Case:
    """
    @ivar text: as the scenario has it.
    @ivar recipient: with its brackets; so is the sender.
    @ivar peer: the address that the connection comes from.
    @ivar port: the number of the listener.
    @ivar user: who logs in; empty: nobody does.
    @ivar difference: the id of a listed difference that makes our verdict another one.
    @ivar newer: the same, where the 6.8 still says what we do.
    @ivar older: why 6.8 says something else than 7.8.
    """

    text: str
    recipient: str
    sender: str = "<sender@client.test>"
    peer: str = FOREIGN
    helo: str = "client.test"
    port: int = 1
    isTls: bool = False
    user: str = ""
    password: str = PASSWORD
    difference: str = ""
    newer: str = ""
    older: str = ""

    def differs(self, isOlder: bool) -> str:
        """Why our verdict may be another one than that of an OpenSMTPD; empty: it may not.

        @param isOlder: it is one before 7.
        """
        return self.difference or (self.older if isOlder else self.newer)


@dataclass(frozen=True)
class Scenario:
    """
    @ivar configuration: with C{@PORT@}, C{@PORT2@} and so on, and C{@PLACE@} to be filled in.
    @ivar files: by their path in that place.
    """

    configuration: str
    cases: tuple[Case, ...]
    files: dict[str, str] = field(default_factory=dict)


def _case(line: str) -> Case:
    recipient, *words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words)
    values: dict[str, object] = {}
    for name, value in given.items():
        if name == "from":
            values["sender"] = f"<{value}>"
        elif name == "tls":
            values.update(port=int(value), isTls=True)
        elif name == "port":
            values["port"] = int(value)
        else:
            values[name] = value
    return Case(line, recipient if recipient[0] == "<" else f"<{recipient}>", **values)  # type: ignore[arg-type]


def scenario(configuration: str, cases: str, files: dict[str, str] | None = None) -> Scenario:
    """
    @param cases: lines of a recipient and, behind it, C{from=}, C{peer=}, C{helo=}, C{port=}, C{tls=} (a listener with TLS), C{user=},
        C{password=}, C{difference=}, C{newer=}, C{older=}.
    """
    return Scenario(configuration, tuple(_case(line) for line in cases.strip().splitlines()), files or {})


LISTEN = "listen on 127.0.0.1 port @PORT@\n"
TLS = """
pki mx.example.org cert "@PLACE@/cert.pem"
pki mx.example.org key "@PLACE@/key.pem"
"""

SCENARIOS = {
    "inline tables": scenario(
        LISTEN
        + """
table domains { example.org, "*.example.net", "ex*.test", "192.0.2.1" }
table people { ann = "ann", staff = "ann, ben", boss = "carl@example.org", away = "someone@example.com" }
action "local" maildir alias <people>
action "out" relay
match from any for domain <domains> action "local"
match from local for any action "out"
""",
        """
ann@example.org
ben@example.org
staff@example.org
boss@example.org
away@example.org
nobody-here@example.org
ANN@EXAMPLE.ORG
Staff@Example.Org
ann@mx.example.org
ann@example.net
ann@a.example.net
ann@a.b.example.net difference=glob-star
ann@ex.test
ann@extra.test
ann@test
ann@example.com
ann@example.com peer=127.0.0.1
nobody-here@example.org peer=127.0.0.1
nobody-here@nowhere.test peer=127.0.0.1
root@example.org difference=root-delivery
ann@[192.0.2.1]
"ann+x@example.org"
"ann.x@example.org"
""",
    ),
    "tables in files": scenario(
        LISTEN
        + """
table domains file:@PLACE@/domains
table people file:@PLACE@/people
table friends file:@PLACE@/friends
action "local" maildir alias <people>
match from any mail-from <friends> for domain <domains> action "local"
match from local for domain <domains> action "local"
""",
        """
ann@example.org from=friend@example.com
ann@example.org from=Friend@Example.Com
ann@example.org from=friend+tag@example.com
ann@example.org from=other@example.com
ann@example.org from=any@example.net
ann@example.org from=any@a.example.net
ann@example.org from=solo@anywhere.test
ann@example.org from=open+x@anywhere.test
ann@example.org from=
ann@a.example.org from=friend@example.com
ann@b.a.example.org from=friend@example.com difference=glob-star
ann@example.com from=friend@example.com
list@example.org from=friend@example.com
colon@example.org from=friend@example.com
broken@example.org from=friend@example.com
Postmaster@example.org from=friend@example.com
ann@example.org peer=127.0.0.1
staff@example.org peer=127.0.0.1
""",
        {
            "domains": "# ours\nexample.org\n\n*.example.org\n",
            "people": "postmaster ann\nlist: ann, ben\ncolon:carl\nbroken someone-unknown\nStaff ben\n",
            "friends": "friend@example.com\n@example.net\nsolo\nopen@\n",
        },
    ),
    "virtual": scenario(
        LISTEN
        + """
table virtuals file:@PLACE@/virtuals
action "virtual" maildir virtual <virtuals>
action "out" relay
match from any for domain { example.org, example.net } action "virtual"
match from local for any action "out"
""",
        """
ann@example.org
info@example.org
sales@example.org
sales+x@example.org
tagged+x@example.org
tagged+y@example.org
everywhere@example.org
everywhere@example.net
anybody@example.net
anybody@example.org
chain@example.org
remote@example.org
both@example.org
loop@example.org
loop2@example.org
lost@example.org
partly@example.org
refused@example.org
later@example.org
self@example.org
INFO@EXAMPLE.ORG
ann@example.com
someone@example.com peer=127.0.0.1
ben@example.org
unknown-user@example.org
"ann x@example.org"
""",
        {
            "virtuals": """info@example.org ann
sales@example.org ben, carl
tagged+x@example.org ann
everywhere store
@example.net store
chain@example.org info@example.org
remote@example.org someone@example.com
both@example.org ann, someone@example.com
loop@example.org loop2@example.org
loop2@example.org loop@example.org
lost@example.org no-such-user
partly@example.org ann, no-such-user
refused@example.org error:550 Gone away
later@example.org error:451 Not now
self@example.org self@example.org
ann@example.org ann
"""
        },
    ),
    "catch-alls": scenario(
        LISTEN
        + """
action "sink" maildir "@PLACE@/sink" virtual { "@" = "store" }
action "domain" maildir virtual { "@example.net" = "store", "ann@example.net" = "ann", "not@example.net" = "error:550 No" }
action "plain" maildir virtual { "ann" = "ann", "other" = "ben@example.com" }
match from any for domain "example.org" action "sink"
match from any for domain "example.net" action "domain"
match from any for domain "example.com" action "plain"
""",
        """
anybody@example.org
any+thing@example.org
any.body@example.org
ann@example.net
anybody@example.net
not@example.net
not+tag@example.net
ann@example.com
ann+tag@example.com
other@example.com
nobody@example.com
anybody@example.info
postmaster@example.org
""",
    ),
    "aliases": scenario(
        LISTEN
        + """
table aliases file:@PLACE@/aliases
action "local" maildir alias <aliases>
action "out" relay
match from any for domain "example.org" action "local"
match from local for any action "out"
""",
        """
postmaster@example.org
many@example.org
deep@example.org
d2@example.org
loop-a@example.org
self@example.org
ann@example.org
ann+tag@example.org
team+red@example.org
team+blue@example.org
unknown@example.org
dangling@example.org
mixed@example.org
command@example.org
quoted@example.org
file@example.org
gone@example.org
slow@example.org
badcode@example.org
include@example.org
include-nothing@example.org difference=table-errors
escaped@example.org
remote@example.org
uppercase@example.org
dora@example.org
""",
        {
            "aliases": """postmaster: ann
many: ann, ben, carl, dora
deep: d2
d2: d3
d3: d4
d4: d5
d5: ann
loop-a: loop-b
loop-b: loop-a
self: self
dora: dora, ann
team: ann
team+red: ben
dangling: no-such-user
mixed: ann, no-such-user
command: |/bin/cat
quoted: "|/bin/cat -u"
file: /var/mail/shared
gone: error:550 This one has gone
slow: error:421 Not now
badcode: error:250 Fine
include: :include:@PLACE@/members
include-nothing: :include:@PLACE@/nothing
escaped: \\ann
remote: someone@example.com
uppercase: ANN
""",
            "members": "ann\nben, carl\n",
        },
    ),
    "forward": scenario(
        LISTEN
        + """
action "only" forward-only
action "expand" expand-only
action "others" maildir user store
action "local" maildir
action "out" relay
match from any for domain "example.org" action "local"
match from any for domain "forward.example.org" action "only"
match from any for domain "expand.example.org" action "expand"
match from any for domain "others.example.org" action "others"
match from local for domain "example.com" action "out"
match from local for domain "example.info" reject
""",
        """
ann@example.org
ben@example.org
carl@example.org
dora@example.org
store@example.org
ann@forward.example.org
ben@forward.example.org difference=forward-only-self
carl@forward.example.org
dora@forward.example.org
store@forward.example.org
ann@expand.example.org
store@expand.example.org
carl@others.example.org older=forward-of-others
store@others.example.org
nobody-here@forward.example.org
nobody-here@expand.example.org
""",
        {
            "home/ann/.forward": "someone@example.com\n",
            "home/ben/.forward": "ben, someone@example.com\n",
            "home/carl/.forward": "someone@example.info\n",
            "home/dora/.forward": "|/bin/cat\n",
        },
    ),
    "tags": scenario(
        """
listen on 127.0.0.1 port @PORT@ tag OUTSIDE
listen on 127.0.0.1 port @PORT2@ tag inside
listen on 127.0.0.1 port @PORT3@
action "local" maildir
action "out" relay
match from any tag inside for any action "out"
match from any tag { OUTSIDE } for domain example.org action "local"
match from any ! tag OUTSIDE for domain example.net action "local"
match from any tag regex { "^IN", "^out" } for domain regex.example.org action "local"
""",
        """
ann@example.org
ann@example.org port=2
ann@example.org port=3
ann@example.com
ann@example.com port=2
ann@example.com port=3
ann@example.net
ann@example.net port=3
ann@regex.example.org
ann@regex.example.org port=3
""",
    ),
    "regex": scenario(
        LISTEN
        + r"""
table domains { "^mx[0-9]+\\.example\\.org$", "^(a|b)\\.example\\.net$" }
table rcpts { "^ann[.-](a|b)?@", "@any\\." }
table helos { "^mail[0-9]*\\." }
action "local" maildir virtual { "@" = store }
match from any for domain regex <domains> action "local"
match from any for rcpt-to regex <rcpts> action "local"
match from any helo regex <helos> for domain "helo.test" action "local"
match from any mail-from regex { "^bounce-.*@" } for domain "sender.test" action "local"
match from src regex "^203\\.0\\.113\\.1[0-9]$" for domain "source.test" action "local"
match from any ! mail-from regex { "^$", "^spam" } for domain "notspam.test" action "local"
""".replace("\\\\", "\\"),
        """
x@mx1.example.org
x@mx12.example.org
x@mx.example.org
x@MX1.example.org
x@mx1.example.org.test
x@a.example.net
x@c.example.net
ann-a@example.com
ann.@example.com difference=local-parts
annb@example.com
x@any.test
x@helo.test helo=mail1.client.test
x@helo.test helo=MAIL.client.test
x@helo.test helo=smtp.client.test
x@sender.test from=bounce-7@client.test
x@sender.test from=xbounce-7@client.test
x@sender.test from=
x@source.test peer=203.0.113.12
x@source.test peer=203.0.113.7
x@notspam.test
x@notspam.test from=spammer@client.test
""",
    ),
    "sources": scenario(
        """
listen on 127.0.0.1 port @PORT@
table near { 203.0.113.16/28, "203.0.113.99", "2001:db8::/32", "[203.0.113.98]" }
action "local" maildir
action "out" relay
match from src <near> for any action "out"
match from src "203.0.113.7" for domain "seven.test" action "out"
match from local for domain "local.test" action "out"
match for domain "default.test" action "out"
match from socket for domain "socket.test" action "out"
match from any for domain "any.test" action "out"
match from any for local action "local"
match from any for domain "none.test" reject
""",
        """
x@anywhere.test peer=203.0.113.16
x@anywhere.test peer=203.0.113.31
x@anywhere.test peer=203.0.113.32
x@anywhere.test peer=203.0.113.99
x@anywhere.test peer=203.0.113.98 difference=bracketed-networks
x@anywhere.test peer=192.0.2.1
x@seven.test
x@seven.test peer=203.0.113.8
x@local.test
x@local.test peer=127.0.0.1
x@local.test peer=198.51.100.1
x@default.test
x@default.test peer=127.0.0.1
x@socket.test peer=127.0.0.1
x@any.test
x@none.test
ann@localhost
ann@mx.example.org
ann@[127.0.0.1] newer=own-literals
ann@other.example.org
""",
    ),
    "names": scenario(
        LISTEN
        + """
action "out" relay
action "copy" maildir virtual { "one@copy.test" = "x@copied.test", "two@copy.test" = "y@copied.test", "three@copy.test" = "z@copied.test" }
match from any for domain "copy.test" action "copy"
match from rdns for rcpt-to "x@copied.test" action "out"
match ! from rdns for rcpt-to "y@copied.test" action "out"
match ! from rdns "friend.example.com" for rcpt-to "z@copied.test" action "out"
match from rdns "*.example.com" for domain "rdns.test" action "out"
match from rdns "friend.example.com" for domain "friend.test" action "out"
match from rdns for domain "named.test" action "out"
match ! from rdns for domain "unnamed.test" action "out"
match from any helo "client.test" for domain "helo.test" action "out"
match from any ! helo "*.test" for domain "nothelo.test" action "out"
match from mail-from { "@client.test" } for domain "mailfrom.test" action "out"
match from any for rcpt-to { "ann@rcpt.test", "@all.test", "solo" } action "out"
match from any mail-from "<>" for domain "bounce.test" action "out"
""",
        """
x@rdns.test
x@rdns.test peer=203.0.113.10 difference=rdns-patterns
x@friend.test peer=203.0.113.10
x@friend.test peer=203.0.113.11
x@rdns.test peer=203.0.113.11
x@rdns.test peer=203.0.113.12
x@named.test
x@named.test peer=203.0.113.10
x@named.test peer=203.0.113.12 difference=rdns-confirmed
x@unnamed.test
x@unnamed.test peer=203.0.113.10
x@unnamed.test peer=203.0.113.12 difference=rdns-confirmed
x@helo.test
x@helo.test helo=CLIENT.test
x@helo.test helo=other.test
x@nothelo.test
x@nothelo.test helo=other.example
x@mailfrom.test
x@mailfrom.test from=x@other.test
x@mailfrom.test from=
ann@rcpt.test
ANN@RCPT.TEST
ann+tag@rcpt.test
ben@rcpt.test
any@all.test
solo@elsewhere.test
any@none.test
x@bounce.test from= difference=empty-sender
x@bounce.test
one@copy.test
one@copy.test peer=203.0.113.10 difference=forwarded-names
two@copy.test difference=forwarded-names
two@copy.test peer=203.0.113.10
three@copy.test
three@copy.test peer=203.0.113.10 difference=forwarded-names
""",
    ),
    "logging in": scenario(
        TLS
        + """
table users { ann = "@HASH@", "ben@example.org" = "@HASH@", carl = "*LOCKED*" }
table allowed { ann = "ann@example.org, @example.net", "ben@example.org" = "ben@example.org" }
table staff { ann }
listen on 127.0.0.1 port @PORT@
listen on 127.0.0.1 port @PORT2@ smtps pki mx.example.org auth <users>
listen on 127.0.0.1 port @PORT3@ smtps pki mx.example.org auth-optional <users>
listen on 127.0.0.1 port @PORT4@ smtps pki mx.example.org auth <users> senders <allowed>
action "out" relay
action "local" maildir
match from any auth <staff> for domain "staff.test" action "out"
match from auth for domain "auth.test" action "out"
match from auth "ben@example.org" for domain "ben.test" action "out"
match from any ! auth for domain "public.test" action "out"
match from any ! auth <staff> for domain "rest.test" action "out"
match from any for domain "example.org" action "local"
""",
        """
x@auth.test
x@auth.test tls=2
x@auth.test tls=2 user=ann
x@auth.test tls=2 user=ANN
x@auth.test tls=2 user=ann password=wrong
x@auth.test tls=2 user=ben@example.org
x@auth.test tls=2 user=carl
x@auth.test tls=2 user=nobody-here
x@auth.test tls=3
x@auth.test tls=3 user=ann
x@staff.test tls=3 user=ann
x@staff.test tls=3 user=ben@example.org
x@staff.test tls=3
x@ben.test tls=3 user=ann
x@ben.test tls=3 user=ben@example.org
x@public.test
x@public.test tls=3
x@public.test tls=3 user=ann
x@rest.test tls=3 user=ann
x@rest.test tls=3 user=ben@example.org
x@rest.test tls=3
ann@example.org tls=3
x@auth.test tls=4 user=ann from=ann@example.org
x@auth.test tls=4 user=ann from=any@example.net
x@auth.test tls=4 user=ann from=ben@example.org
x@auth.test tls=4 user=ann from=
x@auth.test tls=4 user=ben@example.org from=ben@example.org
""".replace("\\\\", "\\"),
    ),
    "negation and reject": scenario(
        LISTEN
        + """
table blocked { "@spam.test", "nobody@example.com" }
table here { example.org, example.net }
action "local" maildir virtual { "@" = store }
action "out" relay
match from any mail-from <blocked> for any reject
match from any for rcpt-to "trap@example.org" reject
match from any helo "*.bad.test" for domain <here> reject
match ! from src 203.0.113.0/24 for domain "far.test" action "out"
match from any ! mail-from "@friend.test" for domain "stranger.test" action "local"
match from any ! for domain <here> reject
match from any for domain example.org action "local"
match from src 203.0.113.7 for domain example.net action "local"
""",
        """
x@example.org
x@example.org from=x@spam.test
x@example.org from=nobody@example.com
x@example.org from=somebody@example.com
trap@example.org
Trap@Example.ORG
trap+x@example.org
x@example.org helo=a.bad.test
x@example.org helo=bad.test
x@far.test
x@far.test peer=192.0.2.1
x@stranger.test
x@stranger.test from=ann@friend.test
x@example.net
x@example.net peer=203.0.113.8
x@example.com
""",
    ),
    "sub-addresses": scenario(
        """
smtp sub-addr-delim "-"
"""
        + LISTEN
        + """
action "local" maildir alias { "ann-list" = "ben", "dash" = "ann" }
action "virtual" maildir virtual { "info-x@example.net" = "ann", "info" = "ben" }
match from any for domain example.org action "local"
match from any for domain example.net action "virtual"
match from any for rcpt-to { "carl@example.com" } action "local"
""",
        """
ann@example.org
ann-tag@example.org
ann-list@example.org
dash-x@example.org
ann+tag@example.org
ann--@example.org
-ann@example.org
info-x@example.net
info-y@example.net
carl@example.com
carl-x@example.com
no-one@example.org
""",
    ),
    "users": scenario(
        LISTEN
        + """
action "as" maildir user store
action "asvirtual" maildir user store virtual { "@example.com" = "anyone" }
match from any for domain example.net action "as"
match from any for domain example.com action "asvirtual"
""",
        """
ann@example.net
ann+x@example.net
ANN@example.net
nobody-here@example.net
any@example.com
""",
    ),
    "userbase": scenario(
        LISTEN
        + """
table base { eve = "58004:58004:@PLACE@/home/dora", "eve.two" = "58004:58004:@PLACE@/home/dora", broken = "nonsense" }
action "based" maildir "@PLACE@/mail" userbase <base>
action "aliased" maildir "@PLACE@/mail" userbase <base> alias { info = "eve", lost = "ann" }
match from any for domain example.org action "based"
match from any for domain example.net action "aliased"
""",
        """
eve@example.org
EVE@example.org
eve+x@example.org
eve.two@example.org
ann@example.org
broken@example.org
info@example.net
eve@example.net
lost@example.net
""",
    ),
    "spelling": scenario(
        LISTEN
        + """
action "local" maildir virtual { "@" = store }
match from any for domain { example.org, "xn--bcher-kva.example" } action "local"
match from any for local action "local"
""",
        """
<@relay.test:ann@example.org>
<postmaster>
<ann> difference=bare-addresses
<ann@> difference=bare-addresses
<@example.org>
<ann@example.org.>
'<"ann"@example.org>' difference=local-parts
'<"a b"@example.org>' difference=local-parts
<ann@@example.org>
<a..b@example.org> difference=local-parts
<.ann@example.org> difference=local-parts
<ann@exa_mple.org>
<a/b@example.org>
<a!b@example.org>
<a%b@example.org>
<a=b@example.org>
<ann@-example.org>
<ann@xn--bcher-kva.example>
ann@example.org from=x difference=bare-addresses
ann@example.org from=x@[203.0.113.7]
ann@example.org from=a..b@client.test difference=local-parts
ann@example.org helo=[203.0.113.7]
ann@example.org helo=client_x.test
ann@example.org helo=- difference=helo-names
<ann@localhost>
""",
    ),
    "negations": scenario(
        TLS
        + """
table users { ann = "@HASH@", "ben@example.org" = "@HASH@" }
table friends file:@PLACE@/friends
table nets { 203.0.113.0/28, 192.0.2.1 }
listen on 127.0.0.1 port @PORT@ tag plain
listen on 127.0.0.1 port @PORT2@ smtps pki mx.example.org auth-optional <users> tag secure
action "out" relay
match ! from local for domain "foreign.test" action "out"
match ! from src <nets> for domain "nets.test" action "out"
match ! from auth for domain "anonymous.test" action "out"
match ! from auth { "ann" } for domain "notann.test" action "out"
match ! from mail-from <friends> for domain "senders.test" action "out"
match ! from rdns { "friend.example.com" } for domain "notfriend.test" action "out"
match from any ! rcpt-to { "x@d.test", "@e.test" } mail-from "rcpts@client.test" for any action "out"
match from any ! for rcpt-to regex { "^x@f" } mail-from "regex@client.test" action "out"
match from any ! for local mail-from "local@client.test" action "out"
match from any ! helo { "client.test", "*.good.test" } for domain "helo.test" action "out"
match from any ! tag { "plain", "other" } for domain "tag.test" action "out"
match from any ! auth { "ann" } for domain "auth.test" action "out"
match from any ! mail-from { "@client.test", "<>" } for domain "mailfrom.test" action "out"
match from any ! mail-from "@client.test" ! helo "client.test" for domain "both.test" action "out"
match ! from any for domain "never.test" action "out"
match from socket for any action "out"
""",
        """
x@foreign.test
x@foreign.test peer=127.0.0.1
x@nets.test
x@nets.test peer=203.0.113.99
x@nets.test peer=192.0.2.1
x@nets.test peer=127.0.0.1
x@anonymous.test
x@anonymous.test tls=2
x@anonymous.test tls=2 user=ann
x@notann.test tls=2 user=ann
x@notann.test tls=2 user=ben@example.org
x@notann.test
x@senders.test
x@senders.test from=ann@friends.test
x@senders.test from=ANN@friends.test
x@senders.test from=ann+tag@friends.test
x@senders.test from=any@all.test
x@senders.test from=
x@notfriend.test difference=rdns-negation
x@notfriend.test peer=203.0.113.10
x@notfriend.test peer=203.0.113.11
x@d.test from=rcpts@client.test
y@d.test from=rcpts@client.test
y@e.test from=rcpts@client.test
x+tag@d.test from=rcpts@client.test
x@f.test from=regex@client.test
y@f.test from=regex@client.test
x@localhost from=local@client.test
x@mx.example.org from=local@client.test
x@other.test from=local@client.test
x@helo.test
x@helo.test helo=a.good.test
x@helo.test helo=good.test
x@tag.test
x@tag.test tls=2
x@auth.test
x@auth.test tls=2 user=ann
x@auth.test tls=2 user=ben@example.org
x@mailfrom.test
x@mailfrom.test from=x@other.test
x@both.test
x@both.test helo=other.test
x@both.test from=x@other.test
x@both.test from=x@other.test helo=other.test
x@never.test
x@never.test peer=127.0.0.1
""",
        {"friends": "ann@friends.test\n@all.test\n"},
    ),
    "regular expressions in files": scenario(
        TLS
        + """
table users { ann = "@HASH@", "ben@example.org" = "@HASH@" }
table patterns file:@PLACE@/patterns
listen on 127.0.0.1 port @PORT@ tag first
listen on 127.0.0.1 port @PORT2@ smtps pki mx.example.org auth-optional <users> tag second
action "out" relay
match from any for domain regex <patterns> action "out"
match from any auth regex { "@example\\.org$" } for domain "auth.test" action "out"
match from auth regex { "^a.n$" } for domain "fromauth.test" action "out"
match from rdns regex { "^friend\\." } for domain "rdns.test" action "out"
match from src regex { "^(192|198)\\." } for domain "src.test" action "out"
match from mail-from regex { "^list-[a-z]+-bounces@" } for domain "list.test" action "out"
match from any ! helo regex { "[0-9]{1,3}[.-][0-9]{1,3}" } for domain "static.test" action "out"
match from any ! for rcpt-to regex { "\\+" } mail-from "plus@client.test" action "out"
match from any tag regex "ond$" for domain "tag.test" action "out"
match from any ! tag regex "ond$" for domain "nottag.test" action "out"
""".replace("\\\\", "\\"),
        """
x@one.file.test
x@two.file.test
x@12.file.test
x@ab12.file.test
x@file.test
x@ONE.FILE.TEST
x@alt.a.test
x@alt.b.test
x@alt.c.test
x@class-Z.test
x@auth.test
x@auth.test tls=2 user=ann
x@auth.test tls=2 user=ben@example.org
x@fromauth.test tls=2 user=ann
x@fromauth.test tls=2 user=ben@example.org
x@fromauth.test
x@rdns.test peer=203.0.113.10
x@rdns.test peer=203.0.113.11
x@rdns.test
x@src.test peer=192.0.2.9
x@src.test
x@list.test from=list-users-bounces@client.test
x@list.test from=list-users1-bounces@client.test
x@static.test
x@static.test helo=203-0-113-7.pool.test
x@plus.test from=plus@client.test
x+y@plus.test from=plus@client.test
x@tag.test
x@tag.test tls=2
x@nottag.test
x@nottag.test tls=2
""",
        {
            "patterns": "# domains\n^(one|two)\\.file\\.test$\n"
            "^[0-9]+\\.file\\.test$\n^alt\\.(a|b)\\.test$\n^class-[[:upper:][:lower:]]\\.test$\n"
        },
    ),
    "aliases of every kind": scenario(
        LISTEN
        + """
table aliases file:@PLACE@/aliases
action "local" maildir alias <aliases>
action "as" maildir user store alias <aliases>
action "out" relay
match from any for domain "example.org" action "local"
match from any for domain "as.example.org" action "as"
match from any for domain "rejected.test" reject
match from local for any action "out"
""",
        """
commented@example.org
two-includes@example.org
include-command@example.org
include-address@example.org
include-rejected@example.org
include-unknown@example.org
include-error@example.org
include-empty@example.org
include-directory@example.org difference=table-errors
command-and-user@example.org
command-shell@example.org difference=command-words
command-quoted@example.org
command-empty@example.org difference=command-words
file-and-user@example.org
file-directory@example.org difference=table-values
null@example.org
error-temporary@example.org
error-colon@example.org
error-and-user@example.org
user-and-error@example.org
rejected@example.org
same-twice@example.org
case@example.org
tagged@example.org
tagged+a@example.org
to-tagged@example.org
to-address@example.org
to-tagged-address@example.org
to-other-domain@example.org
spaces@example.org
quotes@example.org difference=alias-quotes
long-chain@example.org
circle@example.org
circle-and-user@example.org
root-alias@example.org
command-and-user@as.example.org
ann@as.example.org
tagged+a@as.example.org
""",
        {
            "aliases": """# aliases(5)
commented: ann # ben
two-includes: :include:@PLACE@/members, :include:@PLACE@/more
include-command: :include:@PLACE@/commands
include-address: :include:@PLACE@/addresses
include-rejected: :include:@PLACE@/bad
include-unknown: :include:@PLACE@/unknown
include-error: :include:@PLACE@/errors
include-empty: :include:@PLACE@/empty
include-directory: :include:@PLACE@
command-and-user: "|/bin/cat -u", ann
command-shell: "|/bin/cat > /dev/null"
command-quoted: "|/bin/echo \\"a b\\" 'c d'"
command-empty: "|"
file-and-user: /var/mail/shared, ann
file-directory: /var/mail/
null: /dev/null
error-temporary: error:450 Come again
error-colon: :error:550 No more
error-and-user: error:550 No more, ann
user-and-error: ann, error:550 No more
rejected: x@rejected.test
same-twice: ann, ann, ANN
case: Ann, BEN
tagged: ann
tagged+a: ben
to-tagged: ann+lists
to-address: ann@example.org
to-tagged-address: ann+lists@example.org
to-other-domain: ann@as.example.org
spaces:    ann   ,   ben
quotes: "ann", "ben"
long-chain: l1
l1: l2
l2: l3
l3: l4
l4: l5
l5: l6
l6: l7
l7: ann
circle: circle2
circle2: circle
circle-and-user: circle-and-user2, ann
circle-and-user2: circle-and-user, ben
root-alias: carl
""",
            "members": "ann\n# nobody\n\nben, carl\n",
            "more": "dora\nann\n",
            "commands": '|/bin/cat\n"|/bin/cat -u"\n',
            "addresses": "someone@example.com\nann@example.org\n",
            "bad": "x@rejected.test\n",
            "unknown": "no-such-user\n",
            "errors": "error:550 From a file\n",
            "empty": "# nothing\n",
        },
    ),
    "virtual addresses of every kind": scenario(
        """
smtp sub-addr-delim "+"
"""
        + LISTEN
        + """
table virtuals file:@PLACE@/virtuals
action "virtual" maildir virtual <virtuals>
action "out" relay
match from any for domain { example.org, example.net, example.com } action "virtual"
match from any for domain "rejected.test" reject
match from local for any action "out"
""",
        """
user@example.org
user+tag@example.org
tag+known@example.org
tag+other@example.org
tag@example.org
bare@example.org
bare@example.net
bare+tag@example.net
bare+own@example.net
any@example.com
any+tag@example.com
command@example.org
file@example.org
include@example.org
include-nothing@example.org difference=table-errors
error@example.org
mixed@example.org
to-virtual@example.org
to-user@example.org
to-circle@example.org
to-itself@example.org
to-foreign@example.org
to-rejected@example.org
to-unknown@example.org
to-domain@example.org
to-domain-circle@example.org
USER@EXAMPLE.ORG
ann@example.org
nothing@example.org
postmaster@example.org
""",
        {
            "virtuals": """user@example.org ann
tag+known@example.org ben
tag@example.org carl
bare ann
bare+own ben
@example.com dora
command@example.org "|/bin/cat"
file@example.org /var/mail/shared
include@example.org :include:@PLACE@/members
include-nothing@example.org :include:@PLACE@/no-such-file
error@example.org error:553 Not this one
mixed@example.org ann, someone@example.info, |/bin/cat
to-virtual@example.org user@example.org
to-user@example.org bare
to-circle@example.org circle2@example.org
circle2@example.org to-circle@example.org
to-itself@example.org to-itself@example.org, ann
to-foreign@example.org someone@example.info
to-rejected@example.org x@rejected.test
to-unknown@example.org nobody-here
to-domain@example.org any@example.com
to-domain-circle@example.org to-domain-circle@example.net
to-domain-circle@example.net to-domain-circle@example.org
""",
            "members": "ann\nben\n",
        },
    ),
    "forwards of every kind": scenario(
        LISTEN
        + """
table many { later = "ann, ben", never = "ann, eve" }
action "only" forward-only alias <many>
action "expand" expand-only alias { list = "ann, ben", pipe = "|/bin/cat", plain = "store" }
action "virtual" forward-only virtual { "v@virtual.example.org" = "someone@example.com", "w@virtual.example.org" = "store" }
action "local" maildir
action "out" relay
match from any for domain "example.org" action "local"
match from any for domain "forward.example.org" action "only"
match from any for domain "expand.example.org" action "expand"
match from any for domain "virtual.example.org" action "virtual"
match from any for domain "rejected.test" reject
match from local for any action "out"
""",
        """
ann@example.org
ben@example.org
carl@example.org
dora@example.org
store@example.org
ann+tag@example.org
ann@forward.example.org
ben@forward.example.org
carl@forward.example.org
dora@forward.example.org
store@forward.example.org
later@forward.example.org
never@forward.example.org
list@expand.example.org
pipe@expand.example.org
plain@expand.example.org
store@expand.example.org
v@virtual.example.org
w@virtual.example.org
x@virtual.example.org
""",
        {
            "home/ann/.forward": "someone@example.com, other@example.info\n",
            "home/ben/.forward": "# none\n\n",
            "home/carl/.forward": "x@rejected.test\n",
            "home/dora/.forward": "\\\\dora, /var/mail/shared\n",
            "home/store/.forward": "error:550 No mail for store\n",
        },
    ),
    "aliases of tagged names": scenario(
        LISTEN
        + """
action "local" maildir alias { "ann+x" = "ann", ann = "ben", "carl+y" = "carl+y", "ben+z" = "no-such-user", dora = "dora@example.org" }
action "refused" maildir alias { "ann+x" = "ann", ann = "no-such-user", "carl+y" = "carl+y, ann+x", "ben+z" = "ben" }
action "virtual" maildir virtual { "ann+x" = "ann", ann = "no-such-user", "carl+y" = "carl+y", "@" = "ben+z", "ben+z" = "ben" }
match from any for domain "example.org" action "local"
match from any for domain "example.net" action "refused"
match from any for domain "example.com" action "virtual"
""",
        """
ann+x@example.org
ann+y@example.org
carl+y@example.org
carl+z@example.org
ben+z@example.org
ben@example.org
dora@example.org difference=virtual-self
ann+x@example.net
ann+y@example.net
carl+y@example.net
ben+z@example.net
ann+x@example.com
carl+y@example.com
carl@example.com
dora@example.com
""",
    ),
    "forwards that meet": scenario(
        LISTEN
        + """
action "local" maildir alias { pair = "ann, ben", to-store = "store" }
action "out" relay
match from any for domain "example.org" action "local"
match from local for any action "out"
""",
        """
ann@example.org
ben@example.org
carl@example.org difference=forward-circles
dora@example.org difference=forward-circles
dora+tag@example.org difference=forward-circles
pair@example.org
store@example.org difference=forward-circles
to-store@example.org difference=forward-circles
to-store+x@example.org difference=forward-circles
""",
        {
            "home/ann/.forward": "ben@example.org\n",
            "home/ben/.forward": "ann@example.org\n",
            "home/carl/.forward": "dora\n",
            "home/dora/.forward": "carl, dora\n",
            "home/store/.forward": "\\store, to-store@example.org, someone@example.com\n",
        },
    ),
}
