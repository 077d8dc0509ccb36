"""One conformance run from the command line to the exit code.

A run is a list of cells. A cell is one spec file, one folder of reports, and one pair of rows in the table: today the
server over ws and over wss. Another one (compression on, the client under the fuzzing server) is one more spec and,
for another direction, one more way to start the tool.
"""

import json
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import summary
from children import CannotStart, Children
from compare import NoReport, compare, read_report
from expectation import Expectation, NoSuchCase
from options import parse
from server import Server, build, check_reachable
from shards import Piece, cut, default_jobs, run_side_by_side
from wstest import Wstest

SPECS = Path(__file__).resolve().parent / "specs"


@dataclass
class Cell:
    name: str
    scheme: str
    spec: dict
    cases: list
    reports: Path


@dataclass(frozen=True)
class Task:
    """One wstest process: a piece of a cell's cases."""

    cell: Cell
    piece: Piece
    folder: Path


def main(argv):
    options = parse(argv)
    expectation = Expectation()
    try:
        cells = [_cell(scheme, options, expectation) for scheme in options.scheme]
        if options.compare_only:
            return _verdict(_existing(cells, options.compare_only), expectation, [])
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        with Children() as children, tempfile.TemporaryDirectory(prefix="autobahn-") as scratch:
            complaints = _run(cells, options, expectation, children, Path(scratch))
        return _verdict(cells, expectation, complaints)
    except NoSuchCase as error:
        options.fail(str(error))
    except (CannotStart, NoReport) as error:
        print(f"autobahn/run: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("autobahn/run: interrupted; everything that was started has been ended", file=sys.stderr)
        return 130


def _cell(scheme, options, expectation):
    spec = json.loads((SPECS / f"{scheme}.json").read_text())
    only, exclude = spec["cases"], spec["exclude-cases"]
    if options.only or options.all:
        only, exclude = options.only or ["*"], []
    cases = expectation.select(only, exclude + options.exclude)
    if not cases:
        raise NoSuchCase("--only and --exclude leave no case")
    return Cell(scheme, scheme, spec, cases, options.out.resolve() / scheme)


def _existing(cells, folder):
    """The cells whose reports are in a folder: in it, or below it by their names."""
    if not folder.is_dir():
        raise NoReport(f"{folder}: no such folder")
    if (folder / "index.json").exists():
        cells = [Cell(folder.resolve().name, "", {}, cells[0].cases, folder)]
    else:
        for cell in cells:
            cell.reports = folder / cell.name
    return cells


def _run(cells, options, expectation, children, scratch):
    """Runs the cells and merges their reports. Returns what is wrong beside the cases."""
    wstest = Wstest(children)
    wstest.install()
    if wstest.cases(scratch) != expectation.cases:
        raise CannotStart(
            "this wstest has other cases than expected.toml: is it 25.10.1? Remove autobahn/.wstest and run autobahn/setup"
        )
    for cell in cells:
        _clear(cell.reports)
    server, urls = None, options.url
    if not urls:
        binary = options.binary.resolve() if options.binary else build(children, scratch)
        server = Server(children, binary, options.out)
        urls = server.urls
    for cell in cells:
        if cell.scheme not in urls:
            raise CannotStart(f"the server offers no {cell.scheme}: choose with --scheme")
        check_reachable(urls[cell.scheme])
        cell.spec["servers"][0]["url"] = urls[cell.scheme]

    complaints = _fuzz(cells, options, expectation, wstest)
    trouble = server.stop() if server else None
    return complaints + [trouble] if trouble else complaints


def _fuzz(cells, options, expectation, wstest):
    tasks = [
        Task(cell, piece, cell.reports / "parts" / f"{number:02}")
        for cell in cells
        for number, piece in enumerate(cut(cell.cases, expectation), start=1)
    ]
    # The longest first over all cells, so that no long piece is left for the end.
    tasks.sort(key=lambda task: -task.piece.seconds)
    done = []

    def start(task):
        spec = dict(task.cell.spec, cases=list(task.piece.cases), **{"exclude-cases": []})
        return wstest.start_fuzzing_client(spec, task.folder)

    def report(task, child, in_time):
        done.append(task)
        outcome = f"{child.seconds:.1f} s" if in_time else f"ended after {child.seconds:.0f} s without a report"
        print(f"[{len(done)}/{len(tasks)}] {task.cell.name} {task.piece.name}: {outcome}", file=sys.stderr, flush=True)

    late = run_side_by_side(tasks, options.jobs or default_jobs([task.piece for task in tasks]), start, report)
    for cell in cells:
        wstest.merge([task.folder for task in tasks if task.cell is cell], cell.reports)
    return [
        f"{task.cell.name} {task.piece.name}: wstest hung and was ended; its log is {task.folder / 'wstest.log'}" for task in late
    ]


def _clear(folder):
    """An empty folder for reports. Deletes an earlier report, and nothing that does not look like one."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "index.json").exists() and not (folder / "parts").exists():
            raise CannotStart(f"{folder} holds something else than reports: choose another --out")
        shutil.rmtree(folder)
    (folder / "parts").mkdir(parents=True)


def _verdict(cells, expectation, complaints):
    comparisons = {cell.name: compare(read_report(cell.reports), cell.cases, expectation) for cell in cells}
    for name, comparison in comparisons.items():
        for line in summary.differences(name, comparison):
            print(line)
    for complaint in complaints:
        print(complaint)
    for name, comparison in comparisons.items():
        print(summary.slowest(name, comparison))
    for line in summary.table(comparisons):
        print(line)
    for cell in cells:
        if (cell.reports / "index.html").exists():
            print(f"report: {summary.shown(cell.reports / 'index.html')}")
    is_good = not complaints and all(comparison.is_good for comparison in comparisons.values())
    print("as expected" if is_good else "NOT as expected")
    return 0 if is_good else 1


def _interrupt(*_):
    raise KeyboardInterrupt
