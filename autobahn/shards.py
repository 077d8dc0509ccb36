"""Cutting a list of cases into pieces for several wstest processes, and running pieces side by side.

wstest is one thread and spends much of the quick cases waiting, so pieces overlap well. Every connection is one case
and neither side keeps state between them: the order does not matter.
"""

import os
import time
from dataclasses import dataclass

from cells import is_compressed
from children import POLL

# Seconds a piece takes with a fast server or client, one wstest process alone on two slow cores; only their order matters much.
# 12.x and 13.x are nearly all zlib in wstest itself; 5.x and 6.4.x wait by design; 9.x is many small writes.
PIECES = [
    (["12.5"], 88),
    (["12.3"], 83),
    (["12.2"], 80),
    (["13.7"], 43),
    (["12.4"], 41),
    (["13.5"], 35),
    (["13.3"], 34),
    (["12.1"], 34),
    (["13.4"], 33),
    (["13.6"], 33),
    (["13.1"], 33),
    (["13.2"], 33),
    (["9.7", "9.8"], 4),
    (["9.1", "9.2", "9.3", "9.4"], 3),
    (["6.4.1", "6.4.2"], 2),
    (["6.4.3", "6.4.4"], 2),
    (["5"], 2),
    (["9.5"], 2),
    (["9.6"], 2),
    (["*"], 2),
]


@dataclass(frozen=True)
class Piece:
    cases: tuple
    seconds: float

    @property
    def deadline(self):
        """Far above what a busy machine needs; enough for a server that makes every case wait a second or two."""
        return 30 + 10 * self.seconds + 3 * len(self.cases)

    @property
    def name(self):
        return self.cases[0] if len(self.cases) == 1 else f"{self.cases[0]} to {self.cases[-1]}"


def cut(cases, expectation):
    """Every case in exactly one piece, the longest piece first."""
    left = set(cases)
    pieces = []
    for patterns, seconds in PIECES:
        mine = [case for case in expectation.matching(patterns) if case in left]
        left.difference_update(mine)
        if mine:
            pieces.append(Piece(tuple(mine), seconds))
    return pieces


def default_jobs(pieces):
    """Where zlib is the work, more processes than cores gain nothing; where waiting is, they do."""
    cores = os.cpu_count() or 1
    computes = any(is_compressed(case) for piece in pieces for case in piece.cases)
    return cores if computes else max(4, cores)


def run_side_by_side(tasks, jobs, start, report):
    """Runs `start(task)` for each task, at most `jobs` children at a time. A task has a `piece`, with its deadline.

    `report(task, child, in_time)` is called at the end of each, with False if it took too long and was ended.
    """
    waiting, running = list(tasks), []
    while waiting or running:
        while waiting and len(running) < jobs:
            task = waiting.pop(0)
            running.append((task, start(task)))
        time.sleep(POLL)
        still = []
        for task, child in running:
            if child.has_ended():
                report(task, child, True)
            elif child.seconds > task.piece.deadline:
                child.end()
                report(task, child, False)
            else:
                still.append((task, child))
        running = still
