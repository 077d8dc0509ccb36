"""Whole runs with stand-ins for wstest and for wslab: what a crash, a hang or a refusal in one cell does to the exit code."""

import contextlib
import io
import json
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gate  # noqa: E402
from cells import matrix, named  # noqa: E402
from children import Children  # noqa: E402
from client import ClientRun  # noqa: E402
from expectation import Expectation  # noqa: E402
from shards import Piece, run_side_by_side  # noqa: E402

EXPECTATION = Expectation()

# Both: `autobahn-client URL --agent CELL --deflate … [--cacert FILE]` and `serve …`, with a line for the test to add.
WSLAB = """\
#!{python}
import json, signal, sys, time
command, arguments = sys.argv[1], sys.argv[2:]
value = lambda flag: arguments[arguments.index(flag) + 1] if flag in arguments else None
cell = value("--agent")
{misbehave}
if command == "serve":
    import socket
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    urls = ["%s://127.0.0.1:%d/" % (scheme, one.getsockname()[1]) for scheme, one in zip(("ws", "wss"), sockets)]
    print(json.dumps({{"schema": "wslab.ready/1", "ws": urls[:1], "wss": urls[1:]}}), flush=True)
    time.sleep(60)
"""

# Writes its reports when it is terminated, as py27/fuzzing_server.py does.
FUZZER = """\
import os, signal, sys, time
folder = sys.argv[1]
signal.signal(signal.SIGTERM, lambda *_: (os.rename(folder + "/ready-made", folder + "/reports"), sys.exit(0)))
{misbehave}
with open(folder + "/new", "w") as file:
    file.write("{scheme}://127.0.0.1:1")
os.rename(folder + "/new", folder + "/url")
time.sleep(60)
"""


class StandIn:
    """Has the interface of Wstest. Every report that it writes is perfect."""

    def __init__(self, children):
        self._children = children

    def install(self):
        pass

    def cases(self, _):
        return EXPECTATION.cases

    def make_certificate(self, scratch):
        (scratch / "ca.pem").touch()

    def start_fuzzing_client(self, spec, folder):
        self._write(spec["servers"][0]["agent"], spec, folder / "reports")
        return self._children.start(["true"])

    def start_fuzzing_server(self, spec, folder):
        self._write(folder.parent.parent.name, spec, folder / "ready-made")
        argv = [sys.executable, "-c", FUZZER.format(scheme=spec["url"].split(":")[0], misbehave=""), folder]
        return self._children.start(argv)

    def merge(self, folders, out):
        merged = {}
        for folder in folders:
            if (folder / "reports" / "index.json").exists():
                for agent, cases in json.loads((folder / "reports" / "index.json").read_text()).items():
                    merged.setdefault(agent, {}).update(cases)
        (out / "index.json").write_text(json.dumps(merged))

    def index(self, out, names):
        (out / "index.html").write_text(" ".join(names))

    def _write(self, agent, spec, folder):
        folder.mkdir(parents=True)
        verdicts = {case: EXPECTATION.verdict(case) for case in spec["cases"]}
        entries = {case: {"behavior": one.behavior, "behaviorClose": one.close, "duration": 1} for case, one in verdicts.items()}
        (folder / "index.json").write_text(json.dumps({agent: entries}))


class MatrixTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.enterContext(mock.patch.object(gate, "Wstest", StandIn))
        self.enterContext(mock.patch.object(gate.signal, "signal"))

    def run_gate(self, misbehave, *arguments):
        binary = self.folder / "wslab"
        binary.write_text(WSLAB.format(python=sys.executable, misbehave=misbehave))
        binary.chmod(0o755)
        (self.folder / "out").mkdir(exist_ok=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = gate.main(["--binary", str(binary), "--out", str(self.folder / "out"), *arguments])
        return code, output.getvalue()

    def test_a_matrix_without_a_flaw_exits_with_0(self):
        code, output = self.run_gate("", "--only", "1.1", "--only", "12.1.1")
        self.assertEqual(code, 0, output)
        self.assertEqual((self.folder / "out" / "index.html").read_text().split(), [cell.name for cell in matrix()])
        for cell in matrix():
            [agent] = json.loads((self.folder / "out" / cell.name / "index.json").read_text())
            self.assertEqual(agent, cell.name)

    def test_a_client_that_crashes_in_one_cell_exits_with_1_and_the_others_run(self):
        crash = "if cell == 'client-wss-on': print('out of luck', file=sys.stderr); sys.exit(101)"
        code, output = self.run_gate(crash, "--only", "1.1")
        self.assertEqual(code, 1)
        self.assertRegex(output, r"(?s)client-wss-on 1.1.1 to 1.1.8: the client ended with 101; .*out of luck")
        self.assertEqual(output.count("the client ended with"), 1)
        self.assertEqual(output.splitlines()[-1], "NOT as expected")
        for cell in matrix():
            self.assertTrue((self.folder / "out" / cell.name / "index.json").exists(), cell.name)

    def test_a_client_that_dies_of_a_signal_exits_with_1(self):
        code, output = self.run_gate("import os; cell and os.abort()", "--only", "1.1", "--cells", "client-ws-off")
        self.assertEqual(code, 1)
        self.assertIn("the client ended with -6", output)

    def test_a_client_that_hangs_exits_with_1_and_is_ended(self):
        with mock.patch.object(Piece, "deadline", 1.5):
            code, output = self.run_gate("if cell: time.sleep(60)", "--only", "1.1", "--cells", "client-ws-off")
        self.assertEqual(code, 1)
        self.assertIn("client-ws-off 1.1.1 to 1.1.8: hung and was ended", output)

    def test_a_server_that_dies_during_the_run_exits_with_1(self):
        dies = "signal.signal(signal.SIGALRM, lambda *_: sys.exit(9)); signal.setitimer(signal.ITIMER_REAL, 1)"
        dies = f"if value('--deflate') == 'on': {dies}"
        slow = "if cell: time.sleep(2)"
        code, output = self.run_gate(f"{dies}\n{slow}", "--only", "1.1")
        self.assertEqual(code, 1)
        self.assertIn("the server with --deflate on did not survive: it ended with 9", output)
        self.assertNotIn("the server with --deflate off", output)

    def test_a_server_that_does_not_know_the_setting_exits_with_3(self):
        refuses = "if command == 'serve' and value('--deflate') == 'on': sys.exit(2)"
        code, output = self.run_gate(refuses, "--only", "1.1")
        self.assertEqual(code, 3)
        self.assertIn("the server with --deflate on ended with 2 before it was ready", output)

    def test_reports_of_an_earlier_run_are_replaced_and_other_things_kept(self):
        self.assertEqual(self.run_gate("", "--only", "1.1", "--cells", "client-ws-off")[0], 0)
        self.assertEqual(self.run_gate("", "--only", "2", "--cells", "client-ws-off")[0], 0)
        shutil.rmtree(self.folder / "out" / "client-ws-off")
        (self.folder / "out" / "client-ws-off").mkdir()
        (self.folder / "out" / "client-ws-off" / "thesis.txt").touch()
        self.assertEqual(self.run_gate("", "--only", "2", "--cells", "client-ws-off")[0], 3)
        self.assertTrue((self.folder / "out" / "client-ws-off" / "thesis.txt").exists())


class ClientRunTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.children = self.enterContext(Children())

    def run_piece(self, cell="client-ws-on", client="", fuzzer=""):
        binary = self.folder / "wslab"
        binary.write_text(WSLAB.format(python=sys.executable, misbehave=client))
        binary.chmod(0o755)
        [chosen] = named([cell])
        (self.folder / "ready-made").mkdir()
        argv = [sys.executable, "-c", FUZZER.format(scheme=chosen.scheme, misbehave=fuzzer), self.folder]
        run = ClientRun(self.children, self.children.start(argv), binary, chosen, Path("/ca.pem"), self.folder)
        in_time = []
        task = mock.Mock(piece=mock.Mock(deadline=10))
        run_side_by_side([task], 1, lambda _: run, lambda _task, _child, was_in_time: in_time.append(was_in_time))
        self.assertEqual(in_time, [True])
        return run

    def test_the_client_is_started_as_its_cell_says(self):
        for cell, arguments in [
            ("client-ws-off", "autobahn-client ws://127.0.0.1:1 --agent client-ws-off --deflate off --timeout 1000s"),
            ("client-wss-on", "autobahn-client wss://127.0.0.1:1 --agent client-wss-on --deflate on --timeout 1000s --cacert /ca.pem"),
        ]:
            with self.subTest(cell):
                run = self.run_piece(cell, client="print(*sys.argv[1:])")
                self.assertIsNone(run.complaint)
                self.assertEqual((self.folder / "client.log").read_text().split(), arguments.split())
                shutil.rmtree(self.folder / "reports")
                (self.folder / "url").unlink()

    def test_reports_are_there_when_a_run_has_ended_even_after_a_crash(self):
        run = self.run_piece(client="sys.exit(3)")
        self.assertIn("the client ended with 3", run.complaint)
        self.assertTrue((self.folder / "reports").exists())

    def test_a_fuzzing_server_that_ends_early_is_a_complaint(self):
        run = self.run_piece(fuzzer="sys.exit(1)")
        self.assertIn("the fuzzing server ended with 1 before the client was done", run.complaint)

    def test_a_fuzzing_server_that_ends_badly_is_a_complaint(self):
        run = self.run_piece(fuzzer="signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))")
        self.assertIn("the fuzzing server ended with 4, expected 0", run.complaint)


if __name__ == "__main__":
    unittest.main()
