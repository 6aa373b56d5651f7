from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.specifiers import NAMES, checkFormat, expandFormat

VALUES = dict.fromkeys(NAMES, "x") | {
    "dest": "Ann+Lists@example.org",
    "dest.user": "Ann+Lists",
    "dest.domain": "example.org",
}


def expand(text: str, **values: str) -> str:
    checkFormat(text)
    known = VALUES | {name.replace("_", "."): value for name, value in values.items()}
    return expandFormat(text, known, lambda value: value.partition("+")[0])


class SpecifierTests(SynchronousTestCase):
    def test_values(self) -> None:
        self.assertEqual(expand("/srv/%{dest.domain}/%{dest.user}"), "/srv/example.org/Ann+Lists")
        self.assertEqual(expand("~/Mail 100%%"), "~/Mail 100%")
        self.assertEqual(expand("%{Dest.Domain}"), "example.org")

    def test_modifiers(self) -> None:
        self.assertEqual(expand("%{dest.user:lowercase}"), "ann+lists")
        self.assertEqual(expand("%{dest.user:uppercase|strip}"), "ANN")

    def test_slices(self) -> None:
        for slice, expected in [
            ("0", "e"),
            ("-1", "g"),
            ("0:6", "example"),
            ("-3:", "org"),
            ("0:-4", "example."),
            (":2", "exa"),
            ("8:99", "org"),
        ]:
            self.assertEqual(expand(f"%{{dest.domain[{slice}]}}"), expected, slice)
        self.assertEqual(expand("%{dest.user:lowercase[0]}"), "a")

    def test_slicesOfNothing(self) -> None:
        for slice in ("11", "3:2", "-99", "-1:-2"):
            self.assertRaises(ValueError, expand, f"%{{dest.domain[{slice}]}}")

    def test_whatIsNone(self) -> None:
        for text in ("%", "100%", "%{", "%{}", "%{dest.nobody}", "%{dest:shout}", "%{dest[]x}", "%{dest[1:2:3]}"):
            self.assertRaises(ValueError, checkFormat, text)

    def test_unsafeCharacters(self) -> None:
        self.assertEqual(expand("%{dest.user}", dest_user="a/b$c`d`"), "a:b:c:d:")
        self.assertEqual(expand("%{dest.user:raw}", dest_user="a/b$c"), "a:b$c")

    @given(st.text())
    def test_aValueIsOneStepOfAPath(self, value: str) -> None:
        for modifiers in ("", ":raw"):
            self.assertNotIn("/", expand(f"%{{dest.user{modifiers}}}", dest_user=value))
