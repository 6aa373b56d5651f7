from __future__ import annotations

import posixpath
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.specifiers import (
    MDA,
    NAMES,
    checkFormat,
    checkPath,
    expandPath,
    expandWord,
    expandWords,
    usesDirectory,
)

VALUES = dict.fromkeys(NAMES, "x") | {
    "dest": "Ann+Lists@example.org",
    "dest.user": "Ann+Lists",
    "dest.domain": "example.org",
    "user.directory": "/home/ann",
}


def strip(value: str) -> str:
    return value.partition("+")[0]


def known(values: Mapping[str, str]) -> Mapping[str, str]:
    return VALUES | {name.replace("_", "."): value for name, value in values.items()}


def word(text: str, **values: str) -> str:
    checkFormat(text)
    return expandWord(text, known(values), strip)


def path(text: str, **values: str) -> tuple[str, str]:
    checkFormat(text)
    return expandPath(text, known(values), strip)


class ValueTests(SynchronousTestCase):
    def test_values(self) -> None:
        self.assertEqual(word("for=%{dest.domain},%{dest.user}"), "for=example.org,Ann+Lists")
        self.assertEqual(word("100%%"), "100%")
        self.assertEqual(word("%{Dest.Domain}"), "example.org")

    def test_modifiers(self) -> None:
        self.assertEqual(word("%{dest.user:lowercase}"), "ann+lists")
        self.assertEqual(word("%{dest.user:uppercase|strip}"), "ANN")
        self.assertEqual(word("%{dest.user:strip|UPPERCASE|raw}"), "ANN")

    def test_slices(self) -> None:
        """Those of smtpd.conf(5): an end counted from behind is what is taken away."""
        for slice, expected in [
            ("0", "e"),
            ("1", "x"),
            ("-1", "g"),
            ("0:6", "example"),
            ("8:", "org"),
            ("-3:", "org"),
            ("0:-4", "example"),
            (":2", "exa"),
            (":", "example.org"),
            ("8:99", "org"),
        ]:
            self.assertEqual(word(f"%{{dest.domain[{slice}]}}"), expected, slice)

    def test_slicesBeforeAndAfterModifiers(self) -> None:
        for text in ("%{dest.user[0:2]:lowercase}", "%{dest.user:lowercase[0:2]}"):
            self.assertEqual(word(text), "ann")
        self.assertEqual(word("%{dest.user:strip[-1]}"), "n")

    def test_slicesOfNothing(self) -> None:
        for slice in ("11", "3:2", "-99", "-1:-2", "0:-11"):
            self.assertRaises(ValueError, word, f"%{{dest.domain[{slice}]}}")

    def test_whatIsNone(self) -> None:
        for text in (
            *("%", "100%", "%{", "%{}", "%{dest.nobody}", "%{dest:shout}", "%{dest[]x}", "%{dest[1:2:3]}"),
            *("%{dest[0]:raw[0]}", "a %{mda}", MDA, "%{mda}x"),
        ):
            self.assertRaises(ValueError, checkFormat, text)
        checkFormat(MDA, isWrapper=True)
        self.assertRaises(ValueError, checkFormat, "--exec=%{mda}", isWrapper=True)

    def test_unsafeCharacters(self) -> None:
        self.assertEqual(word("%{dest.user}", dest_user="a/b$c`d`\n"), "a:b:c:d::")
        self.assertEqual(word("%{dest.user:raw}", dest_user="a/b$c"), "a/b$c")

    def test_usesDirectory(self) -> None:
        self.assertTrue(usesDirectory("%{user.directory}/x"))
        self.assertTrue(usesDirectory("%{User.Directory:raw}/x"))
        self.assertFalse(usesDirectory("%%{user.directory}"))


class WordTests(SynchronousTestCase):
    def test_noOptions(self) -> None:
        for text, user in (("%{dest.user}", "-rf"), ("%{dest.user:strip}%{sender}", "-x"), ("%{sender}", "-")):
            self.assertRaises(ValueError, word, text, dest_user=user, sender=user)
        self.assertEqual(word("-f%{dest.user}", dest_user="-x"), "-f-x")

    def test_noNul(self) -> None:
        self.assertRaises(ValueError, word, "%{dest.user:raw}", dest_user="a\0b")

    def test_theDirectory(self) -> None:
        self.assertEqual(word("%{user.directory}/bin/x"), "/home/ann/bin/x")

    @given(st.lists(st.sampled_from(("%{dest.user}", "a", "-d%{dest.user:raw}", "%{sender}")), min_size=1), st.text())
    def test_neverAnotherWord(self, words: list[str], value: str) -> None:
        try:
            expanded = expandWords(words, known({"dest_user": value, "sender": value}), strip)
        except ValueError:
            return
        self.assertEqual(len(expanded), len(words))
        for before, after in zip(words, expanded, strict=True):
            self.assertEqual(before.startswith("-"), after.startswith("-"))


class PathTests(SynchronousTestCase):
    def test_paths(self) -> None:
        self.assertEqual(path("/srv/%{dest.domain}/x-%{dest.user:strip}/"), ("/srv/example.org/x-Ann", "/srv"))
        self.assertEqual(path("~/Mail/%{dest.user}"), ("~/Mail/Ann+Lists", "~/Mail"))
        self.assertEqual(path("~/%{dest.user}"), ("~/Ann+Lists", "~"))
        self.assertEqual(path("/%{dest.user}"), ("/Ann+Lists", "/"))
        self.assertEqual(path("~/Mail/"), ("~/Mail", ""))
        self.assertEqual(path("~/100%%"), ("~/100%", ""))
        self.assertEqual(path("%{user.directory}/Mail"), ("/home/ann/Mail", ""))
        self.assertEqual(path("%{user.directory}/%{dest.domain}"), ("/home/ann/example.org", "/home/ann"))

    def test_partOfAComponent(self) -> None:
        for user, expected in [
            ("../../etc", ":::..:etc"),
            ("..", "::"),
            (".", ":"),
            (".ssh", ":ssh"),
            ("a\0b\n", "a:b:"),
            ("/etc/passwd", ":etc:passwd"),
        ]:
            for modifiers in ("", ":raw"):
                self.assertEqual(path(f"/srv/%{{dest.user{modifiers}}}/x", dest_user=user)[0], f"/srv/{expected}/x")

    def test_whatFails(self) -> None:
        for text in ("/srv/%{sender}", "/srv/.%{sender}/x", "/srv/%{sender}.%{sender}.", "%{sender}/x", "%{sender}"):
            self.assertRaises(ValueError, path, text, sender="")
        for text in ("/srv/%{user.directory}", "%{user.directory}x/y", "~/%{user.directory}"):
            self.assertRaises(ValueError, path, text)
            self.assertRaises(ValueError, checkPath, text)
        checkPath("%{user.directory}/%{dest}")
        for text in ("/srv/../%{dest}", "/srv/..", "~/../x"):
            self.assertRaises(ValueError, checkPath, text)
        checkPath("/srv/..x/%{dest}")
        self.assertRaises(ValueError, path, "%{dest.user}/x")

    @given(
        st.lists(
            st.sampled_from(
                (
                    "%{dest}",
                    "%{dest.user:raw}",
                    "%{dest.domain}",
                    "a",
                    ".",
                    "%{dest.user:lowercase|raw}",
                    "%{dest[0:3]}",
                )
            ),
            min_size=1,
        ),
        st.text(),
        st.text(st.sampled_from("./:ab\0\\~")),
    )
    def test_noAddressLeavesThePrefix(self, parts: list[str], user: str, domain: str) -> None:
        for text in ("/srv/mail/" + "".join(parts), "/srv/mail/x" + "/y".join(parts), "~/" + "/".join(parts)):
            values = known({"dest_user": user, "dest_domain": domain, "dest": f"{user}@{domain}"})
            try:
                found, beneath = expandPath(text, values, strip)
            except ValueError:
                continue
            if beneath:
                self.assertTrue(text.startswith(beneath))
                self.assertEqual(posixpath.normpath(found), found)
                self.assertTrue(found.startswith(beneath + "/"), found)
                self.assertEqual(found.count("/"), text.count("/"))
                self.assertNotIn("\0", found)
