"""The tool: where wstest is installed, what it can run, its fuzzing client and server, and merging what several runs wrote."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from children import CannotStart

HERE = Path(__file__).resolve().parent
PY27 = HERE / "py27"
SETUP_DEADLINE = 900
QUERY_DEADLINE = 60
MERGE_DEADLINE = 180


class Wstest:
    def __init__(self, children):
        self._children = children
        self._prefix = Path(os.environ.get("WSLAB_WSTEST") or HERE / ".wstest").resolve()

    def install(self):
        """Installs the tool; quick when it is there."""
        # Its standard output is a remark for people, not part of our result.
        code = self._children.run([HERE / "setup"], within=SETUP_DEADLINE, stdout=2)
        if code != 0:
            raise CannotStart("wstest is not installed: autobahn/setup says above what to do")

    def cases(self, scratch):
        """The ids of all cases this wstest has."""
        listing = scratch / "cases.txt"
        with open(listing, "w") as output:
            code = self._children.run([self._python, PY27 / "list_cases.py"], within=QUERY_DEADLINE, stdout=output)
        if code != 0:
            raise CannotStart(f"wstest cannot list its cases (exit code {code}): remove {self._prefix} and run autobahn/setup")
        return listing.read_text().split()

    def start_fuzzing_client(self, spec, folder):
        """Starts the fuzzing client on a spec; reports go to `folder`, which also gets the spec and the tool's log.

        wstest hangs for ever on an id that it does not know, writes its reports only at the end, and always exits with 0:
        check the ids before, set a deadline, and judge by the reports.
        """
        return self._start([self._prefix / "bin" / "wstest", "-m", "fuzzingclient", "-s", folder / "spec.json"], spec, folder)

    def start_fuzzing_server(self, spec, folder):
        """Starts the fuzzing server on a spec; the file `url` in `folder` appears when it listens.

        It runs until it is terminated, and then writes reports of whatever was run.
        """
        return self._start([self._python, PY27 / "fuzzing_server.py", folder / "spec.json", folder / "url"], spec, folder)

    def make_certificate(self, scratch):
        """Writes ca.pem, key.pem and certificate.pem for a server on loopback."""
        if self._children.run([self._python, PY27 / "certificate.py", scratch], within=QUERY_DEADLINE) != 0:
            raise CannotStart(f"no certificate could be made in {scratch}: see above")

    def _start(self, argv, spec, folder):
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(dict(spec, outdir=str(folder / "reports")), indent=2) + "\n")
        with open(folder / "wstest.log", "w") as log:
            return self._children.start(argv, stdout=log, stderr=subprocess.STDOUT)

    def merge(self, folders, out):
        """Moves the reports of several runs into `out` and has wstest write one index.json and index.html over them."""
        reports = [folder / "reports" for folder in folders]
        self._merge(out, ["pieces", out, *reports])
        for folder in reports:
            shutil.rmtree(folder, ignore_errors=True)

    def index(self, out, names):
        """Has wstest write one index.html in `out`, with a column for each merged report in a folder of these names."""
        self._merge(out, ["cells", out, *names])

    def _merge(self, out, arguments):
        with open(out / "merge.log", "w") as log:
            argv = [self._python, PY27 / "merge_reports.py", *arguments]
            code = self._children.run(argv, within=MERGE_DEADLINE, stdout=log, stderr=subprocess.STDOUT)
        if code != 0:
            raise CannotStart(f"the reports could not be merged: see {out / 'merge.log'}")
        (out / "merge.log").unlink()

    @property
    def _python(self):
        return self._prefix / "bin" / "py27"
