"""One conformance run from the command line to the exit code.

A run is a list of cells (see cells.py). Each cell's cases are cut into pieces; a piece of a server's cell is one fuzzing
client against the server of that setting, a piece of a client's cell is one fuzzing server with one client of ours.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import summary
from cells import Cell, all_names, is_compressed
from children import CannotStart, Children
from client import ClientRun
from compare import NoReport, compare, read_agent, read_report
from expectation import Expectation, NoSuchCase
from options import parse
from server import Server, build, check_reachable
from shards import Piece, cut, default_jobs, run_side_by_side
from wstest import Wstest


@dataclass(frozen=True)
class Task:
    """One wstest process, and in the client's direction one client: a piece of a cell's cases."""

    cell: Cell
    piece: Piece
    folder: Path

    @property
    def name(self):
        return f"{self.cell.name} {self.piece.name}"


def main(argv):
    options = parse(argv)
    expectation = Expectation()
    try:
        if options.compare_only:
            return _verdict(_existing(options, expectation), expectation, [])
        cells = _filled(options.cells, options, expectation)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        started = time.monotonic()
        with Children() as children, tempfile.TemporaryDirectory(prefix="autobahn-") as scratch:
            complaints = _run(cells, options, expectation, children, Path(scratch))
        return _verdict(cells, expectation, complaints, options.out, time.monotonic() - started)
    except NoSuchCase as error:
        options.fail(str(error))
    except (CannotStart, NoReport) as error:
        print(f"autobahn/run: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("autobahn/run: interrupted; everything that was started has been ended", file=sys.stderr)
        return 130


def _filled(cells, options, expectation):
    """The cells with their cases and folders; without those of which no case is asked, such as 12.1.1 without compression."""
    for cell in cells:
        cell.cases = cell.select(options, expectation)
        cell.reports = options.out.resolve() / cell.name
    filled = [cell for cell in cells if cell.cases]
    if not filled:
        raise NoSuchCase("--only and --exclude leave no case")
    if len(filled) < len(cells):
        print("no case is asked of " + ", ".join(cell.name for cell in cells if not cell.cases), file=sys.stderr)
    return filled


def _existing(options, expectation):
    """The cells whose reports are in a folder: below it by their names, or in it by the agent's name."""
    folder = options.compare_only
    if not folder.is_dir():
        raise NoReport(f"{folder}: no such folder")
    cells = options.cells
    if (folder / "index.json").exists():
        agent = read_agent(folder)
        chosen = [cell for cell in cells if cell.name == agent] or cells
        if len(chosen) != 1:
            options.fail(
                f"{folder}: whose report is it? The agent is {agent!r}: name one of {', '.join(all_names())} with --cells"
            )
        [cell] = _filled(chosen, options, expectation)
        cell.reports = folder
        return [cell]
    cells = _filled(cells, options, expectation)
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
    (options.out / "index.html").unlink(missing_ok=True)

    binary = None
    if not options.url:
        binary = options.binary.resolve() if options.binary else build(children, scratch)
    if any(cell.role == "client" and cell.scheme == "wss" for cell in cells):
        wstest.make_certificate(scratch)
    deflates = {cell.deflate: None for cell in cells if cell.role == "server" and not options.url}
    servers = {deflate: Server(children, binary, options.out, deflate) for deflate in deflates}
    urls = {}
    for cell in cells:
        if cell.role == "server":
            offered = options.url or servers[cell.deflate].urls
            if cell.scheme not in offered:
                raise CannotStart(f"the server offers no {cell.scheme}: choose with --scheme")
            check_reachable(offered[cell.scheme])
            urls[cell.name] = offered[cell.scheme]

    def start(task):
        cell, cases = task.cell, task.piece.cases
        if cell.role == "server":
            return wstest.start_fuzzing_client(client_spec(cell, cases, urls[cell.name]), task.folder)
        fuzzer = wstest.start_fuzzing_server(server_spec(cell, cases, scratch), task.folder)
        return ClientRun(children, fuzzer, binary, cell, scratch / "ca.pem", task.folder)

    complaints = _fuzz(cells, options, expectation, wstest, start)
    return complaints + [trouble for trouble in (server.stop() for server in servers.values()) if trouble]


def client_spec(cell, cases, url):
    """What the fuzzing client reads: it tests a server."""
    return {
        "servers": [{"agent": cell.name, "url": url}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }


def server_spec(cell, cases, scratch):
    """What the fuzzing server reads: it tests a client. The port is its own choice."""
    spec = {"url": f"{cell.scheme}://127.0.0.1:1", "cases": list(cases), "exclude-cases": [], "exclude-agent-cases": {}}
    if cell.scheme == "wss":
        spec |= {"key": str(scratch / "key.pem"), "cert": str(scratch / "certificate.pem")}
    return spec


def _fuzz(cells, options, expectation, wstest, start):
    tasks = [
        Task(cell, piece, cell.reports / "parts" / f"{number:02}")
        for cell in cells
        for number, piece in enumerate(cut(cell.cases, expectation), start=1)
    ]
    # The longest first over all cells, so that no long piece is left for the end.
    tasks.sort(key=lambda task: -task.piece.seconds)
    # Compression keeps every core busy. The rest gives the other side half a second here and there: not at the same time.
    heavy = [task for task in tasks if is_compressed(task.piece.cases[0])]
    light = [task for task in tasks if not is_compressed(task.piece.cases[0])]
    done, complaints = [], []

    def report(task, child, in_time):
        done.append(task)
        outcome = f"{child.seconds:.1f} s" if in_time else f"ended after {child.seconds:.0f} s without a report"
        print(f"[{len(done)}/{len(tasks)}] {task.name}: {outcome}", file=sys.stderr, flush=True)
        complaint = getattr(child, "complaint", None)
        if not in_time:
            complaints.append(f"{task.name}: hung and was ended; its logs are in {task.folder}")
        elif complaint:
            complaints.append(f"{task.name}: {complaint}")

    for group in (heavy, light):
        run_side_by_side(group, options.jobs or default_jobs([task.piece for task in group]), start, report)
    for cell in cells:
        wstest.merge([task.folder for task in tasks if task.cell is cell], cell.reports)
    wstest.index(options.out, [cell.name for cell in cells])
    return complaints


def _clear(folder):
    """An empty folder for reports. Deletes an earlier report, and nothing that does not look like one."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "index.json").exists() and not (folder / "parts").exists():
            raise CannotStart(f"{folder} holds something else than reports: choose another --out")
        shutil.rmtree(folder)
    (folder / "parts").mkdir(parents=True)


def _verdict(cells, expectation, complaints, out=None, seconds=None):
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
    if out is not None:
        print(f"report: {summary.shown(out / 'index.html')}, {seconds:.0f} s on {os.cpu_count()} cores")
    is_good = not complaints and all(comparison.is_good for comparison in comparisons.values())
    print("as expected" if is_good else "NOT as expected")
    return 0 if is_good else 1


def _interrupt(*_):
    raise KeyboardInterrupt
