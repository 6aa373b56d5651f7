from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mta.lanes import UNPRESSED, Lane, Places


class PlacesTests(SynchronousTestCase):
    def places(self, *taken: int) -> Places:
        places = Places()
        for lane, count in zip(Lane, taken, strict=True):
            places.add(lane, count)
        return places

    def rooms(self, places: Places, most: int) -> list[int]:
        return [places.room(lane, most) for lane in Lane]

    def test_shares(self) -> None:
        self.assertEqual(self.rooms(Places(), 80), [80, 70, 40, 20])
        self.assertEqual(self.rooms(self.places(10, 0, 0, 0), 80), [70, 70, 40, 20])
        self.assertEqual(self.rooms(self.places(0, 10, 0, 0), 80), [70, 60, 40, 20])
        self.assertEqual(self.rooms(self.places(0, 0, 0, 20), 80), [60, 50, 20, 0])

    def test_everybodyMayHaveOne(self) -> None:
        self.assertEqual(self.rooms(Places(), 1), [1, 1, 1, 1])
        self.assertEqual(self.rooms(self.places(1, 0, 0, 0), 1), [0, 0, 0, 0])
        self.assertEqual(self.rooms(Places(), 3), [3, 2, 1, 1])

    def test_whoHasTooMuchTakesItFromAll(self) -> None:
        """The share of those before it stays, as long as there is anything at all."""
        self.assertEqual(self.rooms(self.places(0, 0, 60, 0), 80), [20, 20, -20, -20])
        self.assertEqual(self.rooms(self.places(0, 5, 60, 0), 80), [15, 15, -20, -20])
        self.assertEqual(self.rooms(self.places(0, 0, 0, 79), 80), [1, 1, 1, -59])

    def test_toMove(self) -> None:
        """Only the shares of the lanes behind grow by it."""
        places = self.places(0, 70, 0, 0)
        self.assertEqual(places.room(Lane.NEW, 80), 0)
        self.assertEqual(places.room(Lane.SLOW, 80, ahead=Lane.SLOW), 40)
        places.move(Lane.NEW, Lane.SLOW, 40)
        self.assertEqual(places.room(Lane.SLOW, 80, ahead=Lane.SLOW), 0)
        self.assertEqual((places.taken, places.of(Lane.NEW), places.of(Lane.SLOW)), (70, 30, 40))

    def test_borrowed(self) -> None:
        self.assertEqual([Places().room(lane, 80, UNPRESSED) for lane in Lane], [80, 70, 70, 20])
