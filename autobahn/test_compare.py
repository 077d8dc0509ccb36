"""The gate goes red on whatever is not exactly the expectation: doctored reports, by function and by command."""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cells import QUICK, SAMPLE, NoSuchCell, matrix, named  # noqa: E402
from compare import NoReport, compare, read_report  # noqa: E402
from expectation import Expectation, NoSuchCase, Verdict, case_order  # noqa: E402
from gate import client_spec, main  # noqa: E402

RUN = Path(__file__).resolve().with_name("run")
EXPECTATION = Expectation()
# What a cell without compression runs, and one with it by default.
DEFAULT = EXPECTATION.select(["*"], ["12", "13"])
COMPRESSED = EXPECTATION.select(["12", "13"], [])
SAMPLED = DEFAULT + [case for case in COMPRESSED if int(case.split(".")[2]) in SAMPLE]
CELLS = [cell.name for cell in matrix()]


def good_report(cases=DEFAULT, agent="server_ws_off"):
    """An index.json as a perfect server or client gets it."""
    report = {}
    for case in cases:
        verdict = EXPECTATION.verdict(case)
        report[case] = {
            "behavior": verdict.behavior,
            "behaviorClose": verdict.close,
            "duration": 1,
            "remoteCloseCode": 1000,
            "reportfile": f"{agent}_case_{case.replace('.', '_')}.json",
        }
    return report


def doctored(case, **changes):
    report = good_report()
    report[case] = report[case] | changes
    return report


def without(*cases):
    return {case: entry for case, entry in good_report().items() if case not in cases}


# Name, report, and what the one complaint must say of which case.
RED = [
    ("non-strict", doctored("6.4.1", behavior="NON-STRICT"), "6.4.1", "behavior NON-STRICT, expected OK"),
    ("unclean close", doctored("5.19", behaviorClose="UNCLEAN"), "5.19", "behaviorClose UNCLEAN, expected OK"),
    (
        "wrong code",
        doctored("7.1.5", behaviorClose="WRONG CODE", remoteCloseCode=1002),
        "7.1.5",
        "behaviorClose WRONG CODE, expected OK",
    ),
    (
        "failed by client",
        doctored("7.3.6", behaviorClose="FAILED BY CLIENT"),
        "7.3.6",
        "behaviorClose FAILED BY CLIENT, expected OK",
    ),
    ("failed", doctored("1.1.1", behavior="FAILED"), "1.1.1", "behavior FAILED, expected OK"),
    (
        "failed in both",
        doctored("1.1.1", behavior="FAILED", behaviorClose="FAILED"),
        "1.1.1",
        "behaviorClose FAILED, expected OK",
    ),
    ("unimplemented", doctored("2.1", behavior="UNIMPLEMENTED"), "2.1", "behavior UNIMPLEMENTED, expected OK"),
    (
        "informational where OK is due",
        doctored("7.1.5", behavior="INFORMATIONAL"),
        "7.1.5",
        "behavior INFORMATIONAL, expected OK",
    ),
    ("OK where informational is due", doctored("7.1.6", behavior="OK"), "7.1.6", "behavior OK, expected INFORMATIONAL"),
    (
        "close OK where informational is due",
        doctored("7.13.1", behaviorClose="OK"),
        "7.13.1",
        "behaviorClose OK, expected INFORMATIONAL",
    ),
    (
        "failed where informational is due",
        doctored("7.13.2", behavior="FAILED"),
        "7.13.2",
        "behavior FAILED, expected INFORMATIONAL",
    ),
    ("a value wstest does not have", doctored("3.1", behavior="ok"), "3.1", "behavior ok, expected OK"),
    ("no behavior", doctored("3.1", behavior=None), "3.1", "behavior absent, expected OK"),
    ("an entry that is no object", good_report() | {"3.1": "OK"}, "3.1", "behavior absent"),
    ("a missing case", without("9.8.6"), "9.8.6", "missing"),
    ("a missing informational case", without("7.13.2"), "7.13.2", "missing"),
    ("an unknown case", good_report() | {"8.1.1": good_report()["1.1.1"]}, "8.1.1", "unknown"),
    ("a case that was not asked for", good_report(DEFAULT + ["12.1.1"]), "12.1.1", "unasked"),
]


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compare(self, report, asked=DEFAULT):
        (self.folder / "index.json").write_text(json.dumps({"server-ws-off": report}))
        return compare(read_report(self.folder), asked, EXPECTATION)

    def test_a_perfect_report_is_green(self):
        comparison = self.compare(good_report())
        self.assertEqual(comparison.differences, [])
        self.assertEqual(comparison.counts(), {"OK": 298, "INFORMATIONAL": 3})

    def test_a_perfect_report_of_all_cases_is_green(self):
        comparison = self.compare(good_report(EXPECTATION.cases), EXPECTATION.cases)
        self.assertEqual(comparison.differences, [])
        self.assertEqual(comparison.counts(), {"OK": 514, "INFORMATIONAL": 3})

    def test_a_case_counts_by_the_worse_of_its_columns(self):
        for behavior, close, worse in [
            ("OK", "OK", "OK"),
            ("OK", "UNCLEAN", "UNCLEAN"),
            ("NON-STRICT", "OK", "NON-STRICT"),
            ("UNIMPLEMENTED", "OK", "UNIMPLEMENTED"),
            ("FAILED", "WRONG CODE", "FAILED"),
            ("INFORMATIONAL", "OK", "INFORMATIONAL"),
            ("FAILED", "fine", "fine"),
            (None, "OK", "None"),
        ]:
            with self.subTest(behavior=behavior, close=close):
                self.assertEqual(Verdict(behavior, close).worse, worse)

    def test_one_flaw_is_red_and_named(self):
        for name, report, case, complaint in RED:
            with self.subTest(name):
                [difference] = self.compare(report).differences
                self.assertEqual(difference.case, case)
                self.assertIn(complaint, difference.complaint)

    def test_every_flaw_of_every_case_is_red(self):
        for column in ("behavior", "behaviorClose"):
            for case in DEFAULT:
                with self.subTest(case=case, column=column):
                    self.assertFalse(self.compare(doctored(case, **{column: "UNCLEAN"})).is_good)

    def test_each_missing_case_is_red(self):
        for case in DEFAULT:
            with self.subTest(case):
                self.assertFalse(self.compare(without(case)).is_good)

    def test_an_empty_report_misses_every_case(self):
        self.assertEqual([difference.case for difference in self.compare({}).differences], DEFAULT)
        (self.folder / "index.json").write_text("{}")
        self.assertEqual(len(compare(read_report(self.folder), DEFAULT, EXPECTATION).differences), len(DEFAULT))

    def test_asking_for_nothing_proves_nothing(self):
        with self.assertRaises(NoReport):
            self.compare({}, [])

    def test_the_close_code_and_the_duration_do_not_decide(self):
        self.assertTrue(self.compare(doctored("7.3.1", remoteCloseCode=None, duration=900)).is_good)

    def test_what_is_no_report_is_refused(self):
        index = self.folder / "index.json"
        with self.assertRaises(NoReport):
            read_report(self.folder)
        for text in ("", "[]", '{"a": 1}', '{"a": {}, "b": {}}', "<html>"):
            with self.subTest(text):
                index.write_text(text)
                with self.assertRaises(NoReport):
                    read_report(self.folder)


class ExpectationTest(unittest.TestCase):
    def test_there_are_517_cases_and_three_are_informational(self):
        self.assertEqual(len(EXPECTATION.cases), 517)
        self.assertEqual(len(DEFAULT), 301)
        informational = [case for case in EXPECTATION.cases if EXPECTATION.verdict(case).behavior == "INFORMATIONAL"]
        self.assertEqual(informational, ["7.1.6", "7.13.1", "7.13.2"])

    def test_nothing_weaker_than_ok_is_expected_anywhere(self):
        for case in EXPECTATION.cases:
            verdict = EXPECTATION.verdict(case)
            self.assertEqual(verdict.behavior, verdict.close)
            self.assertIn(verdict.behavior, ("OK", "INFORMATIONAL"))

    def test_a_pattern_is_a_case_a_group_or_a_glob(self):
        for pattern, count in [
            ("7.1.6", 1),
            ("7.1", 6),
            ("7", 37),
            ("7.*", 37),
            ("6.4.*", 4),
            ("2.1", 1),
            ("2.1*", 3),
            ("*", 517),
            ("6.4.[13]", 2),
        ]:
            with self.subTest(pattern):
                self.assertEqual(len(EXPECTATION.matching([pattern])), count)

    def test_a_pattern_that_names_nothing_is_refused(self):
        for pattern in ("8", "7.2.1", "99.1", "", "1.1.9"):
            with self.subTest(pattern), self.assertRaises(NoSuchCase):
                EXPECTATION.matching([pattern])

    def test_cases_are_in_numeric_order_and_strangers_last(self):
        self.assertEqual(sorted(["x", "2.10", "2.9", "10.1.1"], key=case_order), ["2.9", "2.10", "10.1.1", "x"])


class CommandLineTest(unittest.TestCase):
    """The exit code is what a build server sees."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_gate(self, *arguments):
        """The same as the command, without a process each."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code = main(["--compare-only", str(self.folder), *arguments])
            except SystemExit as ended:
                code = ended.code
        return code, output.getvalue()

    def write(self, report, folder="", agent="server-ws-off"):
        (self.folder / folder).mkdir(exist_ok=True)
        (self.folder / folder / "index.json").write_text(json.dumps({folder or agent: report}))

    def write_matrix(self, cells=CELLS):
        for name in cells:
            self.write(good_report(SAMPLED if name.endswith("-on") else DEFAULT, name.replace("-", "_")), name)

    def test_the_command_itself_exits_with_0_and_with_1(self):
        for report, code, last in [
            (good_report(), 0, "as expected"),
            (doctored("6.4.1", behavior="NON-STRICT"), 1, "NOT as expected"),
        ]:
            self.write(report)
            ran = subprocess.run(
                [sys.executable, str(RUN), "--compare-only", str(self.folder)], capture_output=True, text=True, timeout=60
            )
            self.assertEqual((ran.returncode, ran.stdout.splitlines()[-1]), (code, last), ran.stderr)

    def test_every_flaw_exits_with_1_and_names_the_case_in_both_directions(self):
        for agent in ("server-ws-off", "client-wss-off"):
            for name, report, case, complaint in RED:
                with self.subTest(name, agent=agent):
                    self.write(report, agent=agent)
                    code, output = self.run_gate("--cells", agent)
                    self.assertEqual(code, 1)
                    self.assertIn(f" {case}: ", output)
                    self.assertIn(complaint, output)

    def test_a_good_matrix_is_green_and_has_a_row_a_cell(self):
        self.write_matrix()
        code, output = self.run_gate()
        self.assertEqual(code, 0, output)
        rows = [line.split() for line in output.splitlines() if line.startswith(tuple(CELLS)) and "slowest" not in line]
        self.assertEqual([row[0] for row in rows], CELLS)
        for name, asked, ran, ok, informational, differ, _ in rows:
            expected = ["433", "433", "430"] if name.endswith("-on") else ["301", "301", "298"]
            self.assertEqual([asked, ran, ok, informational, differ], [*expected, "3", "0"], name)

    def test_one_bad_cell_of_eight_is_enough(self):
        for name in CELLS:
            with self.subTest(name):
                self.write_matrix()
                flawed = good_report(SAMPLED if name.endswith("-on") else DEFAULT)
                flawed["5.19"] |= {"behaviorClose": "UNCLEAN"}
                self.write(flawed, name)
                code, output = self.run_gate()
                self.assertEqual(code, 1)
                self.assertIn(f"{name} 5.19: behaviorClose UNCLEAN, expected OK", output)
                self.assertEqual(self.run_gate("--cells", name)[0], 1)
                self.assertEqual(self.run_gate("--cells", ",".join(set(CELLS) - {name}))[0], 0)

    def test_a_cell_that_broke_off_is_red(self):
        self.write_matrix()
        self.write({}, "client-ws-on")
        code, output = self.run_gate()
        self.assertEqual(code, 1)
        self.assertIn("client-ws-on: 433 cases are missing", output)

    def test_an_absent_cell_is_no_success(self):
        for name in CELLS:
            with self.subTest(name):
                self.write_matrix()
                (self.folder / name / "index.json").unlink()
                self.assertEqual(self.run_gate()[0], 3)

    def test_unimplemented_compression_is_red_where_compression_is_on(self):
        for name in ("server-ws-on", "client-ws-on"):
            report = good_report(SAMPLED)
            report["13.3.1"] |= {"behavior": "UNIMPLEMENTED"}
            self.write(report, name)
            code, output = self.run_gate("--cells", name)
            self.assertEqual(code, 1)
            self.assertIn(f"{name} 13.3.1: behavior UNIMPLEMENTED, expected OK", output)

    def test_a_part_is_compared_with_the_same_selection(self):
        self.write(good_report(["7.1.6", "7.3.1"]))
        self.assertEqual(self.run_gate("--only", "7.1.6", "--only", "7.3.1")[0], 0)
        self.assertEqual(self.run_gate("--only", "7.1.6")[0], 1)
        self.assertEqual(self.run_gate("--only", "7.1")[0], 1)
        self.assertEqual(self.run_gate()[0], 1)

    def test_the_scope_decides_which_compressed_cases_must_be_there(self):
        kept = {"--quick": QUICK, "--sample": SAMPLE, "--full": range(1, 19), "--all": range(1, 19)}
        for scope, numbers in kept.items():
            self.write(
                good_report(DEFAULT + [case for case in COMPRESSED if int(case.split(".")[2]) in numbers]), agent="server-ws-on"
            )
            for asked, others in kept.items():
                with self.subTest(reported=scope, asked=asked):
                    self.assertEqual(self.run_gate(asked)[0], 0 if list(numbers) == list(others) else 1)

    def test_without_compression_the_compressed_cases_are_not_asked(self):
        self.write(good_report())
        self.assertEqual(self.run_gate("--full")[0], 0)
        self.assertEqual(self.run_gate("--only", "12")[0], 2)

    def test_a_report_of_an_unknown_agent_needs_a_cell(self):
        self.write(good_report(), agent="somebody")
        self.assertEqual(self.run_gate()[0], 2)
        self.assertEqual(self.run_gate("--cells", "client-ws-off")[0], 0)

    def test_what_is_no_report_exits_with_3(self):
        self.assertEqual(self.run_gate()[0], 3)
        (self.folder / "index.json").write_text("")
        self.assertEqual(self.run_gate()[0], 3)

    def test_a_slip_on_the_command_line_exits_with_2(self):
        self.write(good_report())
        for arguments in (
            ["--only", "99.1"],
            ["--exclude", "8"],
            ["--only", "1", "--exclude", "1"],
            ["--only", "1", "--full"],
            ["--quick", "--sample"],
            ["--jobs", "0"],
            ["--scheme", "http"],
            ["--cells", "server-ws"],
            ["--cells", "client-ws-takeover"],
            ["--cells", "server-*", "--scheme", "ws"],
            ["--role", "client", "--deflate", "takeover"],
            ["--url", "ws://127.0.0.1:1"],
        ):
            with self.subTest(arguments):
                self.assertEqual(self.run_gate(*arguments)[0], 2)

    def test_only_loopback_is_a_target(self):
        for url in ("ws://192.0.2.1:80/ws", "wss://example.org/", "http://127.0.0.1/", "127.0.0.1:8888"):
            with self.subTest(url):
                ran = subprocess.run([sys.executable, str(RUN), "--url", url], capture_output=True, text=True, timeout=60)
                self.assertEqual(ran.returncode, 2, ran.stderr)


class CellsTest(unittest.TestCase):
    def test_there_are_eight_and_takeover_only_by_name(self):
        self.assertEqual(
            CELLS,
            [
                f"{role}-{scheme}-{deflate}"
                for role in ("server", "client")
                for deflate in ("off", "on")
                for scheme in ("ws", "wss")
            ],
        )
        for patterns, count in [
            (["*"], 8),
            (["client-*"], 4),
            (["*-wss-*"], 4),
            (["server-ws-off", "client-ws-on"], 2),
            (["server-*-takeover"], 2),
        ]:
            with self.subTest(patterns):
                self.assertEqual(len(named(patterns)), count)
        with self.assertRaises(NoSuchCell):
            named(["server-ws"])

    def test_the_specs_for_wstest_itself_are_the_cells_own(self):
        for scheme, port in (("ws", 8888), ("wss", 8889)):
            spec = json.loads((RUN.parent / "specs" / f"{scheme}.json").read_text())
            [cell] = named([f"server-{scheme}-off"])
            ours = client_spec(cell, ["*"], f"{scheme}://127.0.0.1:{port}/{scheme}")
            self.assertEqual(spec, ours | {"exclude-cases": ["12.*", "13.*"], "outdir": f"autobahn/reports/{cell.name}"})


if __name__ == "__main__":
    unittest.main()
