# Runs under wstest's Python 2.7: wstest's own echo server behind the interface of `wslab serve --format json`.
# Listens on free ports of loopback, whatever the arguments say; wss has a certificate made for the occasion.
import json
import os
import shutil
import sys
import tempfile
import time

from autobahntestsuite.testee import TesteeServerFactory
from OpenSSL import crypto
from twisted.internet import reactor, ssl

LOOPBACK = "127.0.0.1"


def make_certificate(folder):
    key = crypto.PKey()
    key.generate_key(crypto.TYPE_RSA, 2048)
    certificate = crypto.X509()
    certificate.get_subject().CN = "localhost"
    certificate.set_issuer(certificate.get_subject())
    certificate.set_serial_number(int(time.time()))
    certificate.gmtime_adj_notBefore(-3600)
    certificate.gmtime_adj_notAfter(24 * 3600)
    certificate.set_pubkey(key)
    certificate.sign(key, "sha256")
    paths = os.path.join(folder, "key.pem"), os.path.join(folder, "certificate.pem")
    for path, pem in zip(paths, (crypto.dump_privatekey(crypto.FILETYPE_PEM, key), crypto.dump_certificate(crypto.FILETYPE_PEM, certificate))):
        with open(path, "w") as stream:
            stream.write(pem)
    return paths


def listen(scheme, context=None):
    factory = TesteeServerFactory("%s://%s:1" % (scheme, LOOPBACK), False)
    if context is None:
        listener = reactor.listenTCP(0, factory, interface=LOOPBACK)
    else:
        listener = reactor.listenSSL(0, factory, context, interface=LOOPBACK)
    url = "%s://%s:%d" % (scheme, LOOPBACK, listener.getHost().port)
    # The real port is known only now, and the handshake compares it with the Host header's.
    factory.setSessionParameters(url=url)
    return url


def main():
    folder = tempfile.mkdtemp(prefix="autobahn-baseline-")
    try:
        context = ssl.DefaultOpenSSLContextFactory(*make_certificate(folder))
    finally:
        shutil.rmtree(folder)
    ready = {"schema": "wslab.ready/1", "ws": [listen("ws")], "wss": [listen("wss", context)], "ca": None, "pid": os.getpid()}
    print(json.dumps(ready))
    sys.stdout.flush()
    reactor.run()


main()
