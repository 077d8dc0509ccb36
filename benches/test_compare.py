"""What benches/compare shows of documents of `wslab bench`, and what it does where a server does not start."""

import contextlib
import io
import pathlib
import sys
import unittest

import scripts

compare = scripts.load("compare")


def document(rows, reference=0, comparison=()):
    """As `wslab bench --format json` has it, cut down to what is looked at. A row: name, CPU ns, p50 ns, errors."""
    results = []
    for index, (_, cpu_ns, p50_ns, errors) in enumerate(rows):
        results.append(
            {
                "target": index,
                "served": cpu_ns and {"cpu_per_message_ns": cpu_ns},
                "service": {"percentiles": {"p50": p50_ns and {"ns": p50_ns}}},
                "errors": [{"kind": "wrong", "count": errors}] if errors else [],
            }
        )
    return {"targets": [{"name": row[0]} for row in rows], "reference": reference, "results": results, "comparison": list(comparison)}


def ratio(target, value, low=None, high=None, metric="cpu/message"):
    return {"target": target, "metric": metric, "ratio": value, "low": low, "high": high}


class Tables(unittest.TestCase):
    def setUp(self):
        both = document(
            [("raw", 4810, 250_000, 0), ("wslab", 4914.2, 1_250_000, 0), ("yawc", None, None, 3)],
            comparison=[ratio(1, 1.0217, 1.01, 1.03), ratio(1, 9.9, metric="p50")],
        )
        without_raw = document([("wslab", 325, 87_300, 0)])
        self.columns = [("64 B", compare.figures(both)), ("deflate", compare.figures(without_raw))]
        self.names = ["raw", "wslab", "yawc"]

    def test_the_headline_has_a_row_a_server_and_a_column_a_workload(self):
        lines = compare.headline(self.columns, self.names, {"raw": "raw echo"}, "AMD, 2 cores; wslab abc, today", [])
        self.assertEqual(
            lines[2:7],
            [
                "| server | 64 B | deflate |",
                "| --- | --- | --- |",
                "| raw echo | 4.81 (1.00) | – |",
                "| wslab | 4.91 (1.02) | 0.325 |",
                "| yawc | 3 errors | – |",
            ],
        )
        self.assertIn("| wslab | 1250 | 87.3 |", lines)
        self.assertIn("| yawc | – | – |", lines)
        self.assertEqual(lines[-1], "AMD, 2 cores; wslab abc, today")

    def test_an_invalid_run_is_called_so_with_a_line_a_reason(self):
        run = document([("raw", 1, 1, 0), ("wslab", 1, 1, 0)])
        starved = [{"reason": "generator_starved", "target": index, "words": f"no core for {index} %"} for index in (0, 1)]
        run["verdict"] = {"invalid": [*starved, {"reason": "too_few", "target": 1, "words": "few samples"}]}
        notes = compare.complaints("64 B", run)
        self.assertEqual(notes, ["64 B: raw (and 1 more): no core for 0 %", "64 B: wslab: few samples"])
        lines = compare.headline(self.columns, self.names, {}, "AMD", notes)
        self.assertEqual([line for line in lines if "INVALID" in line], lines[-1:])

    def test_intervals_are_shown_where_there_are_some(self):
        lines = compare.intervals(self.columns, self.names, {})
        self.assertEqual(lines[2:], ["| raw | 1.000 | – |", "| wslab | 1.022 (1.010 to 1.030) | – |", "| yawc | – | – |"])

    def test_numbers_keep_three_digits(self):
        for nanoseconds, text in [(None, "–"), (0, "0.000"), (325, "0.325"), (4914.2, "4.91"), (87_300, "87.3"), (1_240_000, "1240")]:
            with self.subTest(nanoseconds=nanoseconds):
                self.assertEqual(compare.microseconds(nanoseconds), text)


class Markers(unittest.TestCase):
    def test_only_what_is_between_them_is_replaced(self):
        text = "before\n<!-- compare -->\nold\n<!-- /compare -->\nafter\n"
        self.assertEqual(compare.spliced(text, ["new"]), "before\n<!-- compare -->\nnew\n<!-- /compare -->\nafter\n")

    def test_a_text_without_the_pair_is_refused(self):
        for text in ["", "<!-- compare -->", "<!-- /compare --><!-- compare -->", 2 * "<!-- compare --><!-- /compare -->"]:
            with self.subTest(text=text), self.assertRaises(ValueError):
                compare.spliced(text, [])

    def test_readme_has_them(self):
        text = compare.README.read_text()
        self.assertIn("\nnew\n", compare.spliced(text, ["new"]))


class Inputs(unittest.TestCase):
    def test_every_peer_is_locked_and_has_a_program(self):
        labels = compare.labels_of([peer.name for peer in compare.PEERS_KNOWN])
        for peer in compare.PEERS_KNOWN:
            with self.subTest(peer=peer.name):
                self.assertRegex(labels[peer.name], r" \d+\.\d+\.\d+$")
        programs = {path.stem.removeprefix("peer-") for path in (compare.PEERS / "src" / "bin").iterdir()}
        self.assertEqual(programs, {compare.RAW} | {peer.name for peer in compare.PEERS_KNOWN})

    def test_the_json_is_one_kib_and_always_the_same(self):
        self.assertEqual(len(compare.sample_json()), 1024)
        self.assertEqual(compare.sample_json(), compare.sample_json())


class Servers(unittest.TestCase):
    def start(self, command):
        """The server, what was said about it, and whether it still ran afterwards."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.ExitStack() as stack:
            server = compare.start(stack, "yawc", command)
        return server, said.getvalue()

    def test_one_that_fails_is_one_line_and_no_server(self):
        rows = [
            (["/nonexistent/peer"], "No such file or directory"),
            ([sys.executable, "-c", "import sys; sys.exit('error: cannot serve: in use')"], "cannot serve: in use"),
            ([sys.executable, "-c", "print('no URL')"], "did not say where it accepts"),
        ]
        for command, reason in rows:
            with self.subTest(command=command):
                server, said = self.start(command)
                self.assertIsNone(server)
                self.assertEqual(said.count("\n"), 1)
                self.assertIn("compare: yawc is left out: ", said)
                self.assertIn(reason, said)

    def test_one_that_starts_is_ended_with_the_run(self):
        program = "import time; print('ws://127.0.0.1:1/', flush=True); time.sleep(60)"
        server, said = self.start([sys.executable, "-c", program])
        self.assertEqual((server.url, said), ("ws://127.0.0.1:1/", ""))
        self.assertFalse(pathlib.Path(f"/proc/{server.pid}").exists())


if __name__ == "__main__":
    unittest.main()
