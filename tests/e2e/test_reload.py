"""Reload while mail flows: fifty times, good and bad files in turn."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import Daemon, Peer, environment, running, say, waitFor

# Messages; each comes by a connection of its own, ten at a time.
COUNT = 5000
RELOADS = 50
# Alive at one time.
GENERATIONS = 4
# KiB that the daemon may grow by.
GROWTH = 10_240

CONFIGURATION = """
listen on 127.0.0.1 port @PORT@
table domains file:@PLACE@/domains
action "sink" maildir "@PLACE@/Maildir" virtual { "@" = "@USER@" }
match from any for domain <domains> action "sink"
"""

# What is wrong, and what is said of it.
BAD = (
    ("match from nonsense\n", "nonsense"),
    ('action "x" relay pki nowhere\n', 'no pki "nowhere"'),
    ("table more file:@PLACE@/nowhere\n", "No such file"),
    ('pki p cert "@PLACE@/domains"\npki p key "@PLACE@/domains"\n', "PEM"),
    ("listen on 192.0.2.1 port 25252\n", "192.0.2.1"),
    ("queue compression\nsmtp max-message-size 1X\n", "1X"),
)


class ReloadTests(SynchronousTestCase):
    def test_fiftyTimesUnderLoad(self) -> None:
        """No session fails, nothing is lost, memory is bounded, four generations live at most; a bad file changes nothing."""

        def prepare(place: Path) -> None:
            (place / "domains").write_text("example.org\n")

        with running(CONFIGURATION, prepare=prepare) as daemon:
            file = daemon.place / "smtpd.conf"
            good = file.read_text()
            before = _resident(daemon)
            command = ["smtp-source", "-s", "10", "-l", "2000", "-m", str(COUNT), "-f", "a@client.test"]
            source = subprocess.Popen(
                [*command, "-t", "ann@example.org", f"127.0.0.1:{daemon.port}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
            most, number = 0, 1
            # A session of each generation, that does nothing.
            idle: list[Peer] = []
            for turn in range(RELOADS):
                wrong, said = BAD[turn // 2 % len(BAD)] if turn % 2 else ("", "")
                # A rule more makes it another configuration.
                extra = f'match from any for domain "d{turn}.test" action "sink"\n'
                file.write_text(good + extra + wrong.replace("@PLACE@", str(daemon.place)))
                done = daemon.control("reload")
                told = done.stdout + done.stderr
                if said:
                    self.assertEqual(done.returncode, 1, told)
                    self.assertIn(said, told)
                else:
                    number += 1
                    idle.append(Peer(daemon.port))
                    self.addCleanup(idle[-1].close)
                    self.assertTrue(idle[-1].hear().startswith("220 "))
                    self.assertEqual((done.returncode, told.split(" is ")[0]), (0, f"generation {number}"))
                generations = json.loads(daemon.control("--json", "show", "status").stdout)["generations"]
                self.assertEqual(generations[0]["number"], number)
                most = max(most, len(generations))
                if source.poll() is None:
                    during = turn
            output, _ = source.communicate(timeout=300)
            self.assertEqual((source.returncode, output), (0, b""))
            waitFor("all letters", lambda: len(daemon.delivered()) == COUNT, 120)
            self.assertEqual(most, GENERATIONS)
            self.assertEqual([peer.ask("NOOP")[:3] for peer in idle[-GENERATIONS:]], ["250"] * GENERATIONS)
            for peer in idle[:-GENERATIONS]:
                self.assertTrue(peer.hear().startswith("421 4.3.2 "))
            growth = _resident(daemon) - before
            self.assertLess(growth, GROWTH)
            self.assertNotIn("Traceback", daemon.errors.read_text())
            say(f"{during + 1} of {RELOADS} reloads while {COUNT} messages came; {most} generations, {growth} KiB more")


def _resident(daemon: Daemon) -> int:
    assert daemon.process is not None
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1])
