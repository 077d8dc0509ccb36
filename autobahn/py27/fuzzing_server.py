# Runs under wstest's Python 2.7: fuzzing_server.py SPEC READY is `wstest -m fuzzingserver -s SPEC`, but on a free port, of
# loopback only. Writes its URL to the file READY when it listens. SIGTERM ends it, with reports also of a client that broke off.
import json
import os
import sys

from autobahntestsuite import choosereactor  # noqa: F401 first, as in wstest
from autobahntestsuite.fuzzing import FuzzingServerFactory
from twisted.internet import reactor, ssl

LOOPBACK = "127.0.0.1"


class Factory(FuzzingServerFactory):
    is_written = False

    def logCase(self, results):
        FuzzingServerFactory.logCase(self, results)
        self.is_written = False

    def createReports(self):
        FuzzingServerFactory.createReports(self)
        self.is_written = True


def main(path, ready):
    with open(path) as stream:
        spec = json.load(stream)
    scheme = str(spec["url"]).split(":")[0]
    factory = Factory(dict(spec, url="%s://%s:1" % (scheme, LOOPBACK)))
    if scheme == "wss":
        context = ssl.DefaultOpenSSLContextFactory(spec["key"], spec["cert"])
        listener = reactor.listenSSL(0, factory, context, interface=LOOPBACK)
    else:
        listener = reactor.listenTCP(0, factory, interface=LOOPBACK)
    url = "%s://%s:%d" % (scheme, LOOPBACK, listener.getHost().port)
    # The real port is known only now, and the handshake compares it with the Host header's.
    factory.setSessionParameters(url=url, server=factory.server)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: factory.is_written or factory.createReports())
    with open(ready + ".new", "w") as stream:
        stream.write(url)
    os.rename(ready + ".new", ready)
    reactor.run()


main(sys.argv[1], sys.argv[2])
