"""The server under test: building it, starting it, its ready line, and whether it is still well in the end."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from children import POLL, CannotStart

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "autobahn.toml"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BUILD_DEADLINE = 3600
METADATA_DEADLINE = 120
READY_DEADLINE = 30
DRAIN_DEADLINE = 15
CONNECT_DEADLINE = 5


class Server:
    """A running `wslab serve`. Its output is kept in the folder of the reports."""

    def __init__(self, children, binary, folder, deflate):
        self._name = f"the server with --deflate {deflate}"
        self._stdout, self._stderr = folder / f"server-{deflate}.stdout", folder / f"server-{deflate}.stderr"
        argv = [binary, "serve", "--config", CONFIG, "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--format", "json"]
        argv += ["--deflate", deflate]
        # Files, not pipes: nobody has to read along, so a talkative server cannot stall.
        with open(self._stdout, "w") as stdout, open(self._stderr, "w") as stderr:
            self._child = children.start(argv, stdout=stdout, stderr=stderr, cwd=ROOT)
        self.urls = ready_urls(self._ready_line())

    def _ready_line(self):
        deadline = time.monotonic() + READY_DEADLINE
        while True:
            ended = self._child.has_ended()
            line, newline, _ = self._stdout.read_text(errors="replace").partition("\n")
            if newline:
                return line
            if ended:
                raise CannotStart(
                    f"{self._name} ended with {self._child.exit_code} before it was ready{last_words(self._stderr)}"
                )
            if time.monotonic() > deadline:
                raise CannotStart(f"{self._name} printed no ready line within {READY_DEADLINE} s{last_words(self._stderr)}")
            time.sleep(POLL)

    def stop(self):
        """Ends it as an operator would. Returns what is wrong with how it went, or None."""
        if self._child.has_ended():
            return f"{self._name} did not survive: it ended with {self._child.exit_code} during the run{last_words(self._stderr)}"
        self._child.terminate()
        if not self._child.wait(DRAIN_DEADLINE):
            self._child.end()
            return f"{self._name} was still there {DRAIN_DEADLINE} s after SIGTERM{last_words(self._stderr)}"
        if self._child.exit_code != 0:
            return f"{self._name} ended with {self._child.exit_code} on SIGTERM, expected 0{last_words(self._stderr)}"
        return None


def last_words(log):
    """The end of a log, to go behind a complaint."""
    lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
    return f"; {log} ends with:\n  " + "\n  ".join(lines) if lines else f"; {log} is empty"


def ready_urls(line):
    """The URL of each scheme from the ready line, such as {"ws": "ws://127.0.0.1:40001/ws", "wss": …}."""
    try:
        ready = json.loads(line)
    except ValueError as error:
        raise CannotStart(f"the server's first line is not JSON: {line!r}") from error
    if not isinstance(ready, dict) or ready.get("schema") != "wslab.ready/1":
        raise CannotStart(f"the server's first line is not of schema wslab.ready/1: {line!r}")
    urls = {}
    for scheme in ("ws", "wss"):
        found = ready.get(scheme) or []
        found = [found] if isinstance(found, str) else found
        if found:
            check_target(found[0], scheme)
            urls[scheme] = found[0]
    return urls


def check_target(url, scheme=None):
    """The scheme of a URL that may be tested. The fuzzing client sends garbage on purpose: never to somebody else's machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or parts.scheme != (scheme or parts.scheme):
        raise CannotStart(f"{url}: expected a {scheme or 'ws or wss'} URL")
    if parts.hostname not in LOOPBACK:
        raise CannotStart(f"{url}: only loopback targets are tested ({', '.join(LOOPBACK)})")
    return parts.scheme


def check_reachable(url):
    """wstest takes a refused connection for the end of its work: say so before."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"ws": 80, "wss": 443}[parts.scheme]
        socket.create_connection((parts.hostname, port), timeout=CONNECT_DEADLINE).close()
    except (OSError, ValueError) as error:
        raise CannotStart(f"{url}: cannot connect ({error}); start the server, or let autobahn/run start it") from error


def build(children, scratch):
    """Builds the release binary, which does nothing when it is fresh, and returns its path."""
    if not shutil.which("cargo"):
        raise CannotStart("cargo is not installed: install Rust, or name a binary with --binary")
    argv = ["cargo", "build", "--release", "--bin", "wslab"]
    if children.run(argv, within=BUILD_DEADLINE, stdout=2, cwd=ROOT) != 0:
        raise CannotStart("the server does not build: see cargo above, or name a binary with --binary")
    return target_folder(children, scratch) / "release" / "wslab"


def target_folder(children, scratch):
    """Where cargo puts what it builds: CARGO_TARGET_DIR and the configuration are its business."""
    metadata = scratch / "metadata.json"
    with open(metadata, "w") as output:
        argv = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
        code = children.run(argv, within=METADATA_DEADLINE, stdout=output, stderr=subprocess.DEVNULL, cwd=ROOT)
    if code != 0:
        raise CannotStart(f"cargo metadata failed with {code}: name a binary with --binary")
    return Path(json.loads(metadata.read_text())["target_directory"])
