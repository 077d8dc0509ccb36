"""What benches/fairness makes of metrics and results."""

import subprocess
import sys
import tempfile
import unittest

import scripts

fairness = scripts.load("fairness")

METRICS = """# TYPE wslab_messages_sent counter
wslab_messages_sent_total 127
wslab_connections{state="opening"} 1
wslab_connections{state="open"} 63
"""


class Floods(unittest.TestCase):
    def test_a_flood_flows_when_all_are_open_and_answered_twice(self):
        self.assertTrue(fairness.flows(METRICS, 63))
        self.assertFalse(fairness.flows(METRICS, 64), "one is not open")
        self.assertFalse(fairness.flows(METRICS.replace("127", "126"), 63), "answers are few")
        self.assertEqual(fairness.metric(METRICS, "wslab_messages"), 0)
        self.assertFalse(fairness.is_open("", 63), "no metrics, no flood")

    def test_beside_a_flood_that_has_ended_nothing_is_told(self):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            self.assertTrue(fairness.is_alive([process]))
            process.communicate(b"\n", timeout=60)
            self.assertFalse(fairness.is_alive([process]))

    def test_the_floods_are_of_63_connections(self):
        self.assertEqual({flood.connections for flood in fairness.FLOODS}, {0, 63})


class Shown(unittest.TestCase):
    def test_a_row_a_flood(self):
        document = {"results": [{"service": {"count": 1234, "max_ns": 30_000_000, "percentiles": {"p50": {"ns": 500_000}, "p99": {"ns": 9_000_000}}}}]}
        lines = fairness.table([("nobody", None, fairness.figures(document)), ("63", 12_345.6, (1_000_000, None, 2_000_000, 3))])
        self.assertEqual(lines[2:], ["| nobody | – | 0.50 | 9.00 | 30.00 | 1,234 |", "| 63 | 12,346 | 1.00 | – | 2.00 | 3 |"])

    def test_the_bound_holds_below_it_only(self):
        self.assertEqual([fairness.holds(p99) for p99 in (19_999_999, 20_000_000, None)], [True, False, False])

    def test_readme_has_the_markers(self):
        self.assertIn("\nnew\n", fairness.compare.spliced(fairness.README.read_text(), ["new"], fairness.MARKERS))


class Programs(unittest.TestCase):
    def test_a_server_that_does_not_start_is_one_line(self):
        with tempfile.TemporaryDirectory() as empty:
            command = [sys.executable, fairness.__file__, "--no-build", "--wslab", "/bin/false", "--out", f"{empty}/table.md"]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertIn("fairness: /bin/false does not serve", run.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
