# Runs under wstest's Python 2.7: wstest's own echo server and client behind the interface of `wslab serve --format json` and
# `wslab autobahn-client`. Listens on free ports of loopback, whatever the arguments say; wss has a certificate of its own.
import argparse
import json
import os
import shutil
import sys
import tempfile

from autobahntestsuite import choosereactor  # noqa: F401 first, as in wstest
from autobahntestsuite.testee import TesteeClientFactory, TesteeServerFactory
from autobahn.twisted.websocket import connectWS
from twisted.internet import reactor, ssl

import certificate

LOOPBACK = "127.0.0.1"


def listen(scheme, deflate, context=None):
    factory = TesteeServerFactory("%s://%s:1" % (scheme, LOOPBACK), False)
    if deflate == "off":
        factory.setProtocolOptions(perMessageCompressionAccept=lambda offers: None)
    if context is None:
        listener = reactor.listenTCP(0, factory, interface=LOOPBACK)
    else:
        listener = reactor.listenSSL(0, factory, context, interface=LOOPBACK)
    url = "%s://%s:%d" % (scheme, LOOPBACK, listener.getHost().port)
    # The real port is known only now, and the handshake compares it with the Host header's.
    factory.setSessionParameters(url=url)
    return url


def serve(options):
    folder = tempfile.mkdtemp(prefix="autobahn-baseline-")
    try:
        context = ssl.DefaultOpenSSLContextFactory(*certificate.make(folder)[:2])
    finally:
        shutil.rmtree(folder)
    urls = {"ws": [listen("ws", options.deflate)], "wss": [listen("wss", options.deflate, context)]}
    print(json.dumps(dict(urls, schema="wslab.ready/1", ca=None, pid=os.getpid())))
    sys.stdout.flush()
    reactor.run()
    return 0


class Client(TesteeClientFactory):
    is_connected = True

    def clientConnectionFailed(self, connector, reason):
        self.is_connected = False
        TesteeClientFactory.clientConnectionFailed(self, connector, reason)


def run_cases(options):
    factory = Client(options.url, False, options.agent)
    if options.deflate == "off":
        factory.setProtocolOptions(perMessageCompressionOffers=[])
    connectWS(factory, trust(options.cacert) if options.url.startswith("wss:") else None)
    reactor.run()
    return 0 if factory.is_connected and factory.currentCaseId > (factory.endCaseId or 0) else 3


def trust(authority):
    with open(authority) as stream:
        root = ssl.Certificate.loadPEM(stream.read())
    return ssl.optionsForClientTLS(u"localhost", trustRoot=ssl.trustRootFromCertificates([root]))


def parse():
    parser = argparse.ArgumentParser(prog="baseline")
    commands = parser.add_subparsers()
    server = commands.add_parser("serve")
    for flag in ("--config", "--listen", "--listen-tls", "--format"):
        server.add_argument(flag)
    server.set_defaults(run=serve)
    client = commands.add_parser("autobahn-client")
    client.add_argument("url")
    client.add_argument("--agent", required=True)
    client.add_argument("--cacert")
    client.add_argument("--timeout")
    client.set_defaults(run=run_cases)
    for command in (server, client):
        command.add_argument("--deflate", default="on", choices=("off", "on", "takeover"))
    return parser.parse_args()


options = parse()
sys.exit(options.run(options))
