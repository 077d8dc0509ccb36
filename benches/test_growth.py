"""What benches/growth makes of documents of `wslab bench`, and what it does where one is missing."""

import contextlib
import io
import pathlib
import stat
import sys
import tempfile
import types
import unittest

import scripts

growth = scripts.load("growth")


def document(rows, results=()):
    """As `wslab bench --export-json` has it, cut down to what is looked at. A row: name, connections, CPU ns, octets a
    connection, errors; a result: name, connections, histogram, percentiles."""
    names, counts = [growth.OURS, growth.RAW], sorted({row[1] for row in [*rows, *results]})
    pieces = []
    for name, count, cpu_ns, octets, errors in rows:
        served = None if cpu_ns is None else {"cpu_per_message_ns": cpu_ns, "bytes_per_connection": octets}
        piece = {"target": names.index(name), "phase": counts.index(count), "served": served}
        pieces.append({**piece, "errors": [{"kind": "timeout", "count": errors}] if errors else []})
    made = []
    for name, count, histogram, percentiles in results:
        values = {key: ns and {"ns": ns} for key, ns in percentiles.items()}
        made.append({"target": names.index(name), "phase": counts.index(count), histogram: {"percentiles": values}})
    return {"targets": [{"name": name} for name in names], "phases": [{"connections": count} for count in counts], "pieces": pieces, "results": made}


class Figures(unittest.TestCase):
    def test_a_figure_is_the_median_of_its_rounds(self):
        rows = [("wslab", 10, 5_000, 250, 0), ("wslab", 10, 90_000, 260, 0), ("wslab", 10, 6_000, 1, 0), ("raw", 10, 4_000, None, 0), ("wslab", 100, None, None, 0)]
        run = document(rows)
        self.assertEqual(growth.medians(run, growth.cpu_ns), {("wslab", 10): 6_000, ("raw", 10): 4_000})
        self.assertEqual(growth.medians(run, growth.bytes_per_connection), {("wslab", 10): 250})

    def test_a_percentile_is_of_all_rounds_together_and_may_be_unknown(self):
        run = document([], [("wslab", 10, "turns", {"p50": 8_000, "p99": None}), ("wslab", 100, "response", {"p50": 1})])
        self.assertEqual(growth.percentile(run, "turns", "p50"), {("wslab", 10): 8_000})
        self.assertEqual(growth.percentile(run, "turns", "p99"), {})


class Shown(unittest.TestCase):
    def setUp(self):
        closed = document(
            [("wslab", 10, 6_000, 0, 0), ("raw", 10, 4_000, 0, 0), ("wslab", 10_000, 12_000, 0, 3)],
            [("wslab", 10, "turns", {"p50": 8_290, "p99": 89_900}), ("wslab", 10_000, "turns", {"p50": 9_000_000, "p99": None})],
        )
        opened = document(
            [("wslab", 10, 7_000, 0, 0)], [("wslab", 10, "response", {"p50": 55_000, "p99": 900_000}), ("wslab", 10, "turns", {"p50": 20_000, "p99": 30_000})]
        )
        idle = document([("wslab", 10_000, 1, 254.4, 0)])
        self.documents = {load: (pathlib.Path("x"), run) for load, run in [(growth.CLOSED, closed), (growth.OPEN, opened), (growth.IDLE, idle)]}

    def test_the_table_has_a_row_a_number_of_connections(self):
        lines = growth.table(self.documents, [10, 10_000])
        self.assertEqual({line.count("|") for line in lines}, {11})
        self.assertEqual(lines[2], "| 10 | 6.00 (1.50) | 8.29 | 89.9 | 7.00 | 55.0 | 900 | 20.0 | 30.0 | – |")
        self.assertEqual(lines[3], "| 10,000 | 12.0 | 9000 | – | – | – | – | – | – | 254 |")

    def test_a_load_that_is_missing_leaves_its_columns_empty(self):
        del self.documents[growth.OPEN]
        self.assertIn("| 10 | 6.00 (1.50) | 8.29 | 89.9 | – | – | – | – | – | – |", growth.table(self.documents, [10]))

    def test_plots_and_errors_are_told(self):
        lines = growth.report(self.documents, [10], ["growth-cost.svg"], "AMD, 2 cores")
        self.assertIn("![cost over connections](growth-cost.svg)", lines)
        self.assertEqual(lines[-2:], ["AMD, 2 cores", "closed loop: 3 errors."])

    def test_readme_has_the_markers(self):
        text = growth.README.read_text()
        self.assertIn("\nnew\n", growth.compare.spliced(text, ["new"], growth.MARKERS))


class Runs(unittest.TestCase):
    def said(self, call):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            value = call()
        return value, said.getvalue()

    def test_a_command_names_each_server_and_where_its_metrics_are(self):
        line = '{"ws":["ws://127.0.0.1:5/ws"],"admin":"http://127.0.0.1:7"}'
        ours, raw = growth.compare.Server("wslab", "ws://127.0.0.1:5/ws", 8, line), growth.compare.Server("raw", "ws://127.0.0.1:6/", 9, "ws://127.0.0.1:6/")
        command = growth.bench_command("wslab", [ours, raw], [10, 100], 0.5, ["--rate", "1/s"], "x.json")
        for words in ["--name wslab --pid 8 --name raw --pid 9", "--metrics http://127.0.0.1:7/metrics", "-c 10,100 -d 0.5s", "--rate 1/s", "--export-json x.json"]:
            self.assertIn(words, " ".join(command))

    def test_one_that_fails_or_takes_too_long_is_a_line(self):
        rows = [
            ("import sys; sys.exit('wslab: no such server')", 20, "ended with 1: wslab: no such server"),
            ("import time; time.sleep(60)", 0.2, "not done within 0.2 s"),
        ]
        for program, seconds_max, reason in rows:
            with self.subTest(program=program):
                done, said = self.said(lambda: growth.run("cost", [sys.executable, "-c", program], seconds_max))
                self.assertFalse(done)
                self.assertEqual(said.count("\n"), 1)
                self.assertIn("growth: cost: ", said)
                self.assertIn(reason, said)
        self.assertEqual(self.said(lambda: growth.run("cost", [sys.executable, "-c", ""], 20)), (True, ""))

    def test_without_a_wslab_that_serves_nothing_is_measured(self):
        options = types.SimpleNamespace(rounds=1, counts=[1, 2], seconds=0.1)
        with tempfile.TemporaryDirectory() as name:
            program = pathlib.Path(name) / "wslab"
            program.write_text("#!/bin/sh\necho 'wslab: no' >&2\nexit 3\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            with self.assertRaises(SystemExit) as ended, contextlib.redirect_stderr(io.StringIO()):
                growth.measure(options, program, "/nonexistent/peer-raw", pathlib.Path(name))
        self.assertIn("does not serve", str(ended.exception))

    def test_numbers_of_connections_ascend_up_to_what_is_planned_for(self):
        self.assertEqual(growth.options_of(["--counts", "1,5"]).counts, [1, 5])
        for text in ["10", "10,10", "5,1", "0,5", "10,20000", "x"]:
            with self.subTest(text=text), self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                growth.options_of(["--counts", text])


if __name__ == "__main__":
    unittest.main()
