"""What this starts ends: servers that misbehave are noticed, children that hang are ended, and no case is lost between pieces."""

import sys
import tempfile
import time
import unittest
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import server  # noqa: E402
import shards  # noqa: E402
from children import CannotStart, Children  # noqa: E402
from expectation import Expectation  # noqa: E402

READY = '{"schema":"wslab.ready/1","ws":["ws://127.0.0.1:40001/ws"],"wss":"wss://localhost:40002/wss","ca":null,"pid":1}'
SAY_READY = f"print('{READY}', flush=True)"
EXIT_ON_TERM = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit({}))"


class ServerTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.children = self.enterContext(Children())
        self.enterContext(mock.patch.object(server, "READY_DEADLINE", 1.5))
        self.enterContext(mock.patch.object(server, "DRAIN_DEADLINE", 0.5))

    def start(self, *lines):
        binary = self.folder / "wslab"
        binary.write_text("\n".join([f"#!{sys.executable}", "import os, sys, time", *lines, ""]))
        binary.chmod(0o755)
        return server.Server(self.children, binary, self.folder, "off")

    def test_a_good_server_names_its_urls_and_leaves_in_peace(self):
        good = self.start(EXIT_ON_TERM.format(0), SAY_READY, "time.sleep(60)")
        self.assertEqual(good.urls, {"ws": "ws://127.0.0.1:40001/ws", "wss": "wss://localhost:40002/wss"})
        self.assertIsNone(good.stop())

    def test_it_is_started_as_the_design_says(self):
        wordy = self.start(EXIT_ON_TERM.format(0), "print(*sys.argv[1:], file=sys.stderr)", SAY_READY, "time.sleep(60)")
        wordy.stop()
        arguments = (self.folder / "server-off.stderr").read_text().split()
        self.assertEqual(
            arguments,
            f"serve --config {server.CONFIG} --listen 127.0.0.1:0 --listen-tls 127.0.0.1:0 --format json --deflate off".split(),
        )

    def test_a_server_that_dies_during_the_run_is_noticed(self):
        frail = self.start(SAY_READY, "print('out of luck', file=sys.stderr); sys.exit(4)")
        time.sleep(0.3)
        self.assertRegex(frail.stop(), r"(?s)did not survive: it ended with 4.*out of luck")

    def test_a_server_that_ends_with_an_error_on_sigterm_is_noticed(self):
        self.assertIn("ended with 5 on SIGTERM", self.start(EXIT_ON_TERM.format(5), SAY_READY, "time.sleep(60)").stop())
        self.assertIn("ended with -15 on SIGTERM", self.start(SAY_READY, "time.sleep(60)").stop())

    def test_a_server_that_ignores_sigterm_is_noticed_and_ended(self):
        deaf = self.start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", SAY_READY, "time.sleep(60)")
        with mock.patch("children.GRACE", 0.2):
            self.assertIn("still there", deaf.stop())

    def test_a_server_that_never_gets_ready_is_refused(self):
        for line, complaint in [
            ("sys.exit(2)", "ended with 2"),
            ("time.sleep(60)", "no ready line"),
            ("print('hello'); time.sleep(1)", "not JSON|ended"),
        ]:
            with self.subTest(line), self.assertRaisesRegex(CannotStart, complaint):
                self.start(line)

    def test_a_binary_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(CannotStart, "No such file"):
            server.Server(self.children, self.folder / "none", self.folder, "off")

    def test_a_ready_line_that_is_not_ours_is_refused(self):
        for line in (
            "wslab ready",
            "[]",
            "{}",
            '{"schema":"wslab.ready/2"}',
            '{"schema":"wslab.ready/1","ws":"ws://192.0.2.1/"}',
            '{"schema":"wslab.ready/1","ws":"wss://127.0.0.1/"}',
        ):
            with self.subTest(line), self.assertRaises(CannotStart):
                server.ready_urls(line)

    def test_a_transport_may_be_absent(self):
        self.assertEqual(server.ready_urls('{"schema":"wslab.ready/1","ws":["ws://[::1]:1/"],"wss":[]}'), {"ws": "ws://[::1]:1/"})


class ChildrenTest(unittest.TestCase):
    def test_leaving_the_block_ends_a_child_and_its_own_children(self):
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder) / "pid"
            with self.assertRaises(KeyboardInterrupt), Children() as children:
                child = children.start(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"])
                while not note.exists() or not note.read_text():
                    time.sleep(0.02)
                raise KeyboardInterrupt
            self.assertTrue(child.has_ended())
            self.assertTrue(_ends(int(note.read_text())))

    def test_a_command_that_takes_too_long_is_ended(self):
        with Children() as children, self.assertRaisesRegex(CannotStart, "not done after 0.1 s"):
            children.run(["sleep", "60"], within=0.1)

    def test_the_exit_code_is_the_commands_own(self):
        with Children() as children:
            self.assertEqual(children.run(["sh", "-c", "exit 7"], within=10), 7)


@dataclass(frozen=True)
class FakePiece:
    deadline: float


@dataclass(frozen=True)
class FakeTask:
    argv: tuple
    piece: FakePiece


class ShardsTest(unittest.TestCase):
    def test_every_case_is_in_exactly_one_piece(self):
        expectation = Expectation()
        for patterns in (["*"], ["7"], ["6.4.1"], ["12", "13"], ["9.5", "1"]):
            with self.subTest(patterns):
                cases = expectation.matching(patterns)
                pieces = shards.cut(cases, expectation)
                self.assertCountEqual([case for piece in pieces for case in piece.cases], cases)

    def test_a_task_that_hangs_is_ended_and_the_others_run(self):
        quick, slow = FakeTask(("true",), FakePiece(10)), FakeTask(("sleep", "60"), FakePiece(0.2))
        seen = []
        with Children() as children:
            shards.run_side_by_side(
                [slow, quick, quick],
                2,
                lambda task: children.start(task.argv),
                lambda task, _, in_time: seen.append((task, in_time)),
            )
        self.assertCountEqual(seen, [(slow, False), (quick, True), (quick, True)])


def _ends(pid, within=5):
    """Whether it is gone, or a zombie, in that time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    unittest.main()
