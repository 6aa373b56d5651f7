"""What is made 7-bit says the same to a reader that knows nothing of us: the standard library's."""

from __future__ import annotations

import os
from email import message_from_bytes, policy
from email.header import decode_header
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.smtp.fields import asciiField
from pysmtpd.smtp.mime import MAX_DEPTH, MAX_HEADER
from pysmtpd.smtp.sevenbit import MAX_LEAVES, Converter, Encoding, Plan, Survey


def survey(raw: bytes, step: int = 65536) -> Plan:
    looking = Survey()
    for at in range(0, len(raw), step):
        looking.feed(raw[at : at + step])
    looking.finish()
    return looking.plan


def convert(raw: bytes, step: int = 65536) -> bytes:
    converter = Converter(survey(raw, step))
    output = b""
    for at in range(0, len(raw), step):
        converter.feed(raw[at : at + step])
        output += converter.take()
    converter.finish()
    return output + converter.take()


def read(raw: bytes) -> list[tuple[str, str, object]]:
    """Type, charset and decoded content of each part."""
    return [
        (
            part.get_content_type(),
            str(part.get_content_charset() or ""),
            None if part.is_multipart() else part.get_payload(decode=True),
        )
        for part in message_from_bytes(raw).walk()
    ]


def subject(raw: bytes) -> str:
    """As it reads, whether encoded or raw."""
    header = raw[: raw.index(b"\r\n\r\n") + 2].replace(b"\r\n ", b" ")
    line = next(line for line in header.split(b"\r\n") if line.lower().startswith(b"subject:"))
    text = line.partition(b":")[2].strip().decode("utf-8", "replace")
    pieces = decode_header(text)
    return "".join(
        piece if isinstance(piece, str) else piece.decode(charset or "ascii", "replace") for piece, charset in pieces
    )


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


PLAIN = """\
From: a@x.test
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüße aus Köln = schön!  \n
--no-boundary
.
"""

NESTED = """\
From: a@x.test
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="out er"
Content-Transfer-Encoding: 8bit

Präambel
--out er
Content-Type: text/plain; charset=iso-8859-15
Content-Transfer-Encoding: 8bit

one: ü

--out er
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: inner
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=in

--in
Content-Type: text/html; charset=utf-8
content-transfer-encoding: 8BIT

<p>ä</p>
--in  \n
no header, öffentlich
--in--
Epilög
--out er
Content-Type: application/octet-stream; name="Übersicht.txt"
Content-Transfer-Encoding: binary

äöüäöüäöü
--out er
Content-Type: text/plain
Content-Transfer-Encoding: 8bit

only ascii
--out er--
"""


class SevenBitTests(SynchronousTestCase):
    def same(self, raw: bytes) -> bytes:
        """It is, and how it is cut into chunks is no matter."""
        output = convert(raw)
        self.assertTrue(output.isascii())
        for mine, its in zip(read(raw), read(output), strict=True):
            self.assertEqual(mine[0], its[0])
            self.assertEqual(mine[2], its[2])
            self.assertIn(its[1], (mine[1], "utf-8", "unknown-8bit"))
        for step in (1, 2, 3, 19):
            again = convert(raw, step)
            if max(map(len, raw.split(b"\r\n"))) > 4096:
                # Where lines are longer than what is held, they are broken elsewhere.
                self.assertEqual(read(again), read(output))
            else:
                self.assertEqual(again, output)
        self.assertTrue(max(map(len, output.split(b"\r\n"))) <= max(998, *map(len, raw.split(b"\r\n"))))
        return output

    def test_text(self) -> None:
        output = self.same(crlf(PLAIN))
        self.assertIn(b"\r\nContent-Transfer-Encoding: quoted-printable\r\n", output)
        self.assertNotIn(b"8bit", output)
        self.assertIn(b"charset=utf-8", output)

    def test_nested(self) -> None:
        output = self.same(crlf(NESTED))
        self.assertNotIn(b"8bit", output.lower().replace(b"unknown-8bit", b""))
        self.assertNotIn(b"binary", output)
        self.assertIn(b"iso-8859-15", output)
        self.assertIn(b"Content-Transfer-Encoding: base64", output)
        self.assertIn(b"name*=utf-8''%C3%9Cbersicht.txt", output)

    def test_sevenBitIsNotTouched(self) -> None:
        """Whatever its labels and lines are like, where nothing above 127 stands."""
        for raw in (crlf(PLAIN.replace("ü", "u").replace("ö", "o").replace("ß", "s").replace(": 8bit", ": 7bit")),):
            self.assertEqual(convert(raw), raw)

    @given(st.binary(max_size=300).filter(bytes.isascii))
    @settings(max_examples=100, deadline=None)
    def test_noiseIsNotTouched(self, raw: bytes) -> None:
        if b"8bit" not in raw.lower():
            self.assertEqual(convert(raw), raw)

    @given(st.binary(max_size=400), st.sampled_from([b"", b"Content-Type: text/plain; charset=latin1\r\n"]))
    @settings(max_examples=150, deadline=None)
    def test_anyOctets(self, content: bytes, kind: bytes) -> None:
        raw = b"A: b\r\n" + kind + b"Content-Transfer-Encoding: binary\r\n\r\n" + content
        output = convert(raw, 7)
        self.assertTrue(output.isascii())
        self.assertEqual(message_from_bytes(output).get_payload(decode=True), content)

    @given(
        st.recursive(
            st.tuples(
                st.sampled_from(["text/plain; charset=utf-8", "image/png", "text/html"]),
                st.text(st.sampled_from("aä=. -\t\n"), max_size=120),
            ),
            lambda inner: st.lists(inner, min_size=1, max_size=3),
            max_leaves=8,
        ),
        st.integers(1, 40),
    )
    @settings(max_examples=100, deadline=None)
    def test_anyStructure(self, tree: object, step: int) -> None:
        raw = b"Subject: x\r\nMIME-Version: 1.0\r\n" + _build(tree, "b")
        output = convert(raw, step)
        self.assertTrue(output.isascii())
        self.assertEqual(
            [(kind, content) for kind, _, content in read(raw)], [(one[0], one[2]) for one in read(output)]
        )

    def test_longLines(self) -> None:
        text = "ä" + "x=" * 40_000 + " \t"
        raw = crlf(PLAIN.partition("\n\n")[0]) + b"\r\n\r\n" + text.encode() + b"\r\n--" + b"-" * 9000 + b"\r\n"
        self.same(raw)

    def test_brokenLinesDoNotBecomeBoundaries(self) -> None:
        head = crlf('Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n')
        part = (
            b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa4"
            + b"x" * 69
            + b"--b"
            + b"y" * 90
            + b"\r\n--b--\r\n"
        )
        self.same(head + part)

    def test_nothingWasSaid(self) -> None:
        """Content without any label gets one that is true."""
        output = self.same(crlf("From: a@x.test\nSubject: x\n\nGrüße\n"))
        self.assertIn(b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n", output)
        output = self.same(b"From: a@x.test\r\nSubject: x\r\n\r\nGr\xfc\xdfe\r\n")
        self.assertIn(b"charset=unknown-8bit", output)

    def test_whatIsEncodedIsMended(self) -> None:
        raw = b"Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=latin1\r\n\r\na=3Db\xe4c=\r\nd\r\n"
        self.assertTrue(self.same(raw).endswith(b"\r\n\r\na=3Db=E4c=\r\nd\r\n"))
        self.same(b"Content-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\nQUJD\xa0\r\nREVG\r\n")

    def test_signed(self) -> None:
        signed = crlf(
            'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b\nMIME-Version: 1.0\n\n'
            "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n"
            "--b\nContent-Type: application/pgp-signature\n\nx\n--b--\n"
        )
        self.assertTrue(survey(signed).isSigned)
        ascii = signed.replace("ü".encode(), b"ue").replace("ß".encode(), b"ss")
        self.assertFalse(survey(ascii).isSigned)
        # A signed part keeps even its labels; what stands around it is converted.
        outer = b'Subject: \xc3\xa4\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\n'
        raw = outer + ascii + b"\r\n--o\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xb6\r\n--o--\r\n"
        self.assertFalse(survey(raw).isSigned)
        self.assertIn(ascii, self.same(raw))
        self.assertTrue(survey(outer + signed + b"\r\n--o--\r\n").isSigned)
        self.assertTrue(survey(b"Content-Type: application/pkcs7-mime\r\n\r\n\x80").isSigned)
        self.assertTrue(survey(b"DKIM-Signature: v=1\r\n\r\n\x80").isDkimSigned)

    def test_whatIsNotUnderstoodIsSaid(self) -> None:
        self.assertTrue(survey(b"Content-Transfer-Encoding: x-own\r\n\r\n\x80").isOdd)
        self.assertTrue(survey(b"Content-Type: multipart/mixed\r\n\r\n\x80").isOdd)
        self.assertTrue(survey(b"Content-Type: message/rfc822\r\n\r\n" * (MAX_DEPTH + 2) + b"\x80").isOdd)
        self.assertTrue(survey(b"A: b\r\n" * (MAX_HEADER // 6 + 2) + b"\x80").isOdd)
        many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * (MAX_LEAVES + 2)
        self.assertTrue(survey(many + b"\x80").isOdd)
        self.assertFalse(survey(crlf(NESTED)).isOdd)

    def test_plan(self) -> None:
        found = [Encoding(leaf) for leaf in survey(crlf(NESTED)).leaves]
        self.assertEqual(found, [Encoding.QP, Encoding.QP, Encoding.UTF8, Encoding.BASE64, Encoding.RELABEL])

    def test_corpus(self) -> None:
        """Messages as they are met, if there are some."""
        place = os.environ.get("PYSMTPD_CORPUS")
        if not place:
            raise SkipTest("PYSMTPD_CORPUS names no directory of messages")
        for path in sorted(Path(place).glob("*.eml")):
            raw = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            if survey(raw).isOdd:
                continue
            output = convert(raw)
            self.assertEqual(convert(raw, 501), output, path.name)
            its = read(output)
            self.assertEqual([(one[0], one[2]) for one in read(raw)], [(one[0], one[2]) for one in its], path.name)
            body = output.partition(b"\r\n\r\n")[2]
            self.assertTrue(body.isascii() or b"rfc6532" in path.name.encode(), path.name)
            if raw.isascii() and b"8bit" not in raw.lower() and b"binary" not in raw.lower():
                self.assertEqual(output, raw, path.name)


class FieldTests(SynchronousTestCase):
    def headers(self, field: bytes) -> Any:
        return message_from_bytes(asciiField(field) + b"\r\n", policy=policy.default)

    @given(st.text(st.sampled_from('aä€ 𝔘=?_"(<@,'), min_size=1, max_size=150))
    @settings(max_examples=150, deadline=None)
    def test_subjects(self, text: str) -> None:
        text = " ".join(text.split())
        if not text or "=?" in text:
            return
        raw = f"Subject: {text}\r\n\r\n".encode()
        output = convert(raw)
        self.assertTrue(output.isascii())
        self.assertEqual(subject(output), text)
        self.assertTrue(all(len(word) <= 75 for word in output.split() if word.startswith(b"=?utf-8")))

    def test_addresses(self) -> None:
        found = self.headers('From: Jürgen "Größe, A." <a@x.test>, b@x.test (Büro), "Ä" <"q r"@x.test>\r\n'.encode())
        addresses = found["From"].addresses
        self.assertEqual([one.addr_spec for one in addresses], ["a@x.test", "b@x.test", '"q r"@x.test'])
        names = [" ".join(one.display_name.split()) for one in addresses]
        self.assertEqual(names, ["Jürgen Größe, A.", "", "Ä"])

    def test_whatCannotBeEncodedStays(self) -> None:
        for field in ("To: jürgen@x.test\r\n", "To: <a@bücher.test>\r\n", 'To: "jü"@x.test\r\n', "Ä: x\r\n", "ä\r\n"):
            self.assertEqual(asciiField(field.encode()), field.encode())

    def test_parameters(self) -> None:
        name = 'Übersicht der Größen, und noch viel mehr als in eine Zeile passt \\" und so weiter.pdf'
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        found = self.headers(f'Content-Disposition: attachment; filename="{quoted}"; size=7\r\n'.encode())
        self.assertEqual(found.get_filename(), name)
        self.assertEqual(found["Content-Disposition"].params["size"], "7")
        found = self.headers(b"Content-Type: text/plain; name=\xfc.txt\r\n")
        self.assertIn("unknown-8bit''%FC.txt", found.as_string())

    def test_latin1IsCalledUnknown(self) -> None:
        self.assertEqual(asciiField(b"Subject: a \xfc b\r\n"), b"Subject: a =?unknown-8bit?B?/A==?= b\r\n")


def _build(tree: object, boundary: str) -> bytes:
    if isinstance(tree, tuple):
        kind, text = tree
        return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode() + crlf(text)
    assert isinstance(tree, list)
    output = f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
    for index, part in enumerate(tree):
        output += f"--{boundary}\r\n".encode() + _build(part, f"{boundary}{index}") + b"\r\n"
    return output + f"--{boundary}--\r\n".encode()
