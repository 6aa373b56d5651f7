"""C{update table} and C{show tables}, asked of a whole daemon."""

from __future__ import annotations

from pysmtpd.control import render
from pysmtpd.control.amp import BadArgument, Unavailable
from pysmtpd.model.events import Commanded
from pysmtpd.testing.case import WorldTestCase
from tests.control.operator import Operator

PATH = "/etc/pysmtpd/domains"
CONFIG = f"""
table domains file:{PATH}
listen on 192.0.2.1
action "local" maildir
match from any for domain <domains> action "local"
"""


class TableCommandTests(WorldTestCase):
    def test_story(self) -> None:
        world = self.world(CONFIG, files={PATH: b"example.org\nmail*.example.net\n"})
        world.start()
        operator = Operator(world)
        (row,) = operator.rows("Tables")
        self.assertEqual(
            (row["table"], row["backend"], row["entries"], row["globs"]), ("domains", f"file:{PATH}", 2, 1)
        )
        self.assertTrue(row["commands"])

        world.disk.write(PATH, b"example.org\nexample.com\nexample.edu\n")
        update = operator.ask("UpdateTable", table="domains")["update"]
        self.assertEqual((update["entries"], update["added"], update["removed"]), (3, 2, 1))
        self.assertEqual(render.tableUpdate(update), "3 entries: 2 added, 1 removed, 0 changed")
        self.assertIn("domains (3)", [event.detail for event in world.eventsOf(Commanded)])
        world.run(60)
        self.assertRegex(
            render.table(operator.rows("Tables")[0]),
            f"^domains file:{PATH} 3 entries, about [0-9]+ bytes, read 1m(0s)? ago$",
        )

    def test_inTheConfiguration(self) -> None:
        world = self.world(CONFIG.replace(f"file:{PATH}", "{ example.org, mail*.example.net, example.com }"))
        world.start()
        (row,) = Operator(world).rows("Tables")
        self.assertEqual((row["backend"], row["entries"], row["globs"]), ("static:", 3, 1))
        self.assertRegex(
            render.table(row),
            r"^domains static: 3 entries, 1 of them patterns that .*, about [0-9]+ bytes, read [0-9]s ago$",
        )

    def test_badFile(self) -> None:
        world = self.world(CONFIG, files={PATH: b"example.org\n"})
        world.start()
        operator = Operator(world)
        world.disk.write(PATH, b"a b\nc\n")
        error = self.assertRaises(Unavailable, operator.ask, "UpdateTable", table="domains")
        self.assertIn("line 2", str(error))
        self.assertIn("still counts", str(error))
        (row,) = operator.rows("Tables")
        self.assertIn("line 2", row["error"])
        self.assertEqual(row["entries"], 1)
        error = self.assertRaises(BadArgument, operator.ask, "UpdateTable", table="domain")
        self.assertIn("there are: domains", str(error))
