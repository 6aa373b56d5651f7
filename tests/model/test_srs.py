"""Rewritten senders: what goes out comes back, and nothing else does."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from hashlib import sha1

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import BackendSpec, Config, SrsSpec, TableRef, TableSpec
from pysmtpd.model.srs import BadSrs, decode, encode, rewriteSender, srsDomain
from pysmtpd.smtp.grammar import parseAddress

SPEC = SrsSpec("secret")
DAY = 20_000
ANN = Path("ann", "example.com")
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

locals_ = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters="\x7f"), min_size=1, max_size=40
)
domains = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,3}", fullmatch=True)


def foreign(kind: str, tail: str, domain: str, key: str = "secret") -> Path:
    """As OpenSMTPD makes them."""
    digest = b64encode(sha1(f"{key}{tail}@{domain}".encode()).digest())[:4].decode()
    return Path(f"SRS{kind}={digest.replace('/', '_').replace('+', '-')}={tail}", domain)


def stamp(day: int) -> str:
    return DIGITS[day % 1024 >> 5] + DIGITS[day % 32]


class SrsTests(SynchronousTestCase):
    def assertBad(self, path: Path, spec: SrsSpec = SPEC, day: int = DAY) -> None:
        self.assertRaises(BadSrs, decode, spec, path, day)

    def test_form(self) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        self.assertRegex(str(made), r"\ASRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=example\.com=ann@mx\.example\.org\Z")

    @given(locals_, domains, st.integers(0, 100_000), st.booleans())
    def test_roundTrip(self, local: str, domain: str, day: int, isLower: bool) -> None:
        sender = Path(local, domain)
        made = encode(SPEC, sender, "mx.example.org", day)
        self.assertEqual(decode(SPEC, made, day + 4), sender)
        # A second forwarder, and a third.
        for again in ("b.example.org", "c.example.org"):
            made = encode(SPEC, made, again, day)
            self.assertTrue(made.local.startswith("SRS1="))
        inner = decode(SPEC, made, day)
        self.assertEqual(inner.domain, "mx.example.org")
        self.assertEqual(decode(SPEC, inner, day), sender)
        if made.isUTF8 is False and '"' not in str(made):
            self.assertEqual(parseAddress(str(made)), made)

    @given(st.text(max_size=60), st.integers(0, 2000))
    def test_anythingIsTakenApart(self, text: str, day: int) -> None:
        for local in (text, f"SRS0={text}", f"SRS1={text}", f"SRS0=AAAA={text}=a=b", f"SRS1=AAAAAAAA=x={text}"):
            self.assertBad(Path(local, "mx.example.org"), day=day)

    @given(st.data())
    def test_oneCharacterOffIsNone(self, data: st.DataObject) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        place = data.draw(st.integers(5, len(made.local) - 1))
        other = data.draw(st.sampled_from("AZaz29=-"))
        changed = Path(made.local[:place] + other + made.local[place + 1 :], made.domain)
        if changed.local.lower() != made.local.lower():
            self.assertBad(changed)

    def test_caseMayBeLost(self) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        self.assertEqual(decode(SPEC, Path(made.local.lower(), made.domain), DAY), ANN)
        self.assertEqual(decode(SPEC, Path(made.local.upper(), made.domain), DAY).key, ANN.key)

    def test_age(self) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        for later in (-1, 0, 1, 4):
            self.assertEqual(decode(SPEC, made, DAY + later), ANN)
        for later in (-2, 5, 100, 1022):
            self.assertBad(made, day=DAY + later)
        week = replace(SPEC, ttl=7 * 86_400.0)
        self.assertEqual(decode(week, made, DAY + 7), ANN)

    def test_twoKeys(self) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        self.assertEqual(decode(SrsSpec("new", "secret"), made, DAY), ANN)
        self.assertBad(made, SrsSpec("new", "other"))
        self.assertBad(encode(SrsSpec(""), ANN, "mx.example.org", DAY), SrsSpec("new"))

    def test_keyOfAnotherCharacterSet(self) -> None:
        """What stands in the file is the key, octet for octet."""
        key = b"p\xe4ssword".decode("utf-8", "surrogateescape")
        made = encode(SrsSpec(key), ANN, "example.org", DAY)
        self.assertEqual(decode(SrsSpec("new", backupKey=key), made, DAY), ANN)
        self.assertRaises(BadSrs, decode, SrsSpec("password"), made, DAY)

    def test_whatStays(self) -> None:
        for sender in (NULL_PATH, Path("ann", "MX.example.org"), Path("postmaster", "")):
            self.assertEqual(encode(SPEC, sender, "mx.example.org", DAY), sender)

    def test_kindsDoNotStandForEachOther(self) -> None:
        made = encode(SPEC, ANN, "mx.example.org", DAY)
        self.assertBad(Path(f"SRS1{made.local[4:]}", made.domain))

    def test_openSmtpdsForm(self) -> None:
        tail = f"{stamp(DAY)}=example.com=Ann"
        made = foreign("0", tail, "example.org")
        self.assertEqual(decode(SPEC, made, DAY + 4), Path("Ann", "example.com"))
        self.assertBad(made, day=DAY + 5)
        self.assertBad(Path(made.local, "example.net"))
        self.assertBad(made, SrsSpec("other"))
        self.assertEqual(decode(SrsSpec("other", "secret"), made, DAY).domain, "example.com")
        made = foreign("1", f"first.example==HHHH={stamp(DAY)}=example.com=ann", "example.org")
        self.assertEqual(str(decode(SPEC, made, DAY)), f"SRS0=HHHH={stamp(DAY)}=example.com=ann@first.example")
        self.assertBad(made, day=DAY + 5)

    def test_aForgedDomain(self) -> None:
        """Four characters can be guessed: what they open must be an address all the same."""
        for domain in ("a b", "x>", "", "a@b", "[1.2.3.4", "a\r\nb", "a,b", '"a"'):
            self.assertBad(foreign("0", f"{stamp(DAY)}={domain}=ann", "example.org"))
            self.assertBad(foreign("1", f"{domain}==HHHH={stamp(DAY)}=example.com=ann", "example.org"))
        literal = Path("ann", "[IPv6:2001:db8::1]")
        self.assertEqual(decode(SPEC, encode(SPEC, literal, "mx.example.org", DAY), DAY), literal)


class ConfigTests(SynchronousTestCase):
    def test_domain(self) -> None:
        table = TableSpec("d", BackendSpec("static"), (("Example.org", ""), ("*.example.net", "")))
        config = Config("f", "mx.example.org", tables={"d": table}, srs=replace(SPEC, domains=TableRef("d")))
        self.assertEqual(srsDomain(config, Path("x", "example.ORG")), "example.org")
        self.assertEqual(srsDomain(config, Path("x", "a.example.net")), "mx.example.org")
        self.assertEqual(srsDomain(replace(config, srs=SPEC), Path("x", "example.org")), "mx.example.org")

    def test_rewriteSender(self) -> None:
        config = Config("f", "mx.example.org")
        original = Path("x", "example.org")
        self.assertEqual(rewriteSender(config, ANN, original, DAY * 86_400.0), ANN)
        config = replace(config, srs=SPEC)
        made = rewriteSender(config, ANN, original, DAY * 86_400.0 + 5)
        self.assertEqual(made, encode(SPEC, ANN, "mx.example.org", DAY))
