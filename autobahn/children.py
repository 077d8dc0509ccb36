"""Child processes that do not outlive the run, and waits that end.

Each child leads a process group of its own, so that Ctrl-C reaches only this process, which then ends the groups it started.
"""

import os
import signal
import subprocess
import time

POLL = 0.02
# How long a child may take to end by SIGTERM before SIGKILL follows.
GRACE = 3.0


class CannotStart(Exception):
    """Something that the run needs is not there; the message says what to do."""


class Child:
    def __init__(self, argv, stdout, stderr, **options):
        self.name = os.path.basename(str(argv[0]))
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **options,
        )
        self.pid = self._process.pid

    @property
    def seconds(self):
        return time.monotonic() - self.started

    @property
    def exit_code(self):
        """None while it runs; negative if a signal ended it."""
        return self._process.returncode

    def has_ended(self):
        if self.exit_code is not None:
            return True
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return False
        # While the leader is not reaped its group's number cannot be given to others: end what it left behind, then reap.
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        return True

    def wait(self, seconds):
        """Whether it ended in that time."""
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def terminate(self):
        if not self.has_ended():
            os.kill(self.pid, signal.SIGTERM)

    def end(self):
        """Ends the whole group, the hard way if need be."""
        if self.has_ended():
            return
        self._signal_group(signal.SIGTERM)
        if not self.wait(GRACE):
            self._signal_group(signal.SIGKILL)
            self._process.wait()

    def _signal_group(self, number):
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass


class Children:
    """All children of one run, ended when the `with` block is left, however it is left."""

    def __init__(self):
        self._running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            running = [child for child in self._running if not child.has_ended()]
            for child in running:
                child.terminate()
            for child in running:
                child.end()
        finally:
            signal.signal(signal.SIGINT, impatient)

    def start(self, argv, stdout=None, stderr=None, **options):
        try:
            child = Child(argv, stdout, stderr, **options)
        except OSError as error:
            raise CannotStart(f"{argv[0]}: {error.strerror}") from error
        self._running = [other for other in self._running if other.exit_code is None] + [child]
        return child

    def run(self, argv, within, **options):
        """Runs a command to its end and returns its exit code."""
        child = self.start(argv, **options)
        if not child.wait(within):
            child.end()
            raise CannotStart(f"{' '.join(map(str, argv))}: not done after {within} s")
        return child.exit_code
