"""The client under test: one `wslab autobahn-client` a piece, each under a fuzzing server of its own.

A piece's fuzzing server knows the piece's cases only, so the client simply runs all that there are. Both end with the piece.
"""

import time

from server import check_target, last_words

# The client ended, so its fuzzing server has only the reports left to write.
WRITE_DEADLINE = 60


class ClientRun:
    """A piece under way. Looks like a Child to whoever waits for it: `has_ended`, `seconds`, `end`."""

    def __init__(self, children, fuzzer, binary, cell, authority, folder):
        self._children, self._fuzzer, self._binary, self._cell = children, fuzzer, binary, cell
        self._authority, self._folder, self._ready = authority, folder, folder / "url"
        self._client = None
        self._client_ended = None
        self._started = time.monotonic()
        self.complaint = None

    @property
    def seconds(self):
        return time.monotonic() - self._started

    def has_ended(self):
        if self._client_ended is not None:
            return self._fuzzer_has_ended()
        if self._fuzzer.has_ended():
            self.complaint = (
                f"the fuzzing server ended with {self._fuzzer.exit_code} before the client was done{self._log('wstest.log')}"
            )
            self.end()
            return True
        if self._client is None:
            url = self._url()
            if url:
                self._client = self._start_client(url)
        elif self._client.has_ended():
            if self._client.exit_code != 0:
                self.complaint = f"the client ended with {self._client.exit_code}{self._log('client.log')}"
            self._client_ended = time.monotonic()
            self._fuzzer.terminate()
        return False

    def end(self):
        for child in (self._client, self._fuzzer):
            if child:
                child.end()

    def _fuzzer_has_ended(self):
        if not self._fuzzer.has_ended():
            if time.monotonic() - self._client_ended < WRITE_DEADLINE:
                return False
            self._fuzzer.end()
        if self._fuzzer.exit_code != 0 and not self.complaint:
            self.complaint = f"the fuzzing server ended with {self._fuzzer.exit_code}, expected 0{self._log('wstest.log')}"
        return True

    def _url(self):
        """The fuzzing server's, once it listens."""
        if not self._ready.exists():
            return None
        url = self._ready.read_text()
        check_target(url, self._cell.scheme)
        return url

    def _start_client(self, url):
        argv = [self._binary, "autobahn-client", url, "--agent", self._cell.name, "--deflate", self._cell.deflate]
        # The fuzzer has a limit for each case, and the piece for all of them: the client's own must not come first.
        argv += ["--timeout", "1000s"]
        if self._cell.scheme == "wss":
            argv += ["--cacert", self._authority]
        with open(self._folder / "client.log", "w") as log:
            return self._children.start(argv, stdout=log, stderr=log)

    def _log(self, name):
        return last_words(self._folder / name)
