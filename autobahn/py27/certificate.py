# Runs under wstest's Python 2.7: certificate.py FOLDER writes ca.pem, and key.pem and certificate.pem of a server on loopback
# that this authority signed. Made for one run and thrown away with it.
import os
import sys
import time

from OpenSSL import crypto

LIFETIME = 7 * 24 * 3600


OF_AUTHORITY = [("basicConstraints", True, "CA:TRUE,pathlen:0"), ("keyUsage", True, "keyCertSign")]
OF_SERVER = [
    ("basicConstraints", True, "CA:FALSE"),
    ("subjectAltName", False, "DNS:localhost,IP:127.0.0.1"),
    ("extendedKeyUsage", False, "serverAuth"),
]


def make(folder):
    authority_key, authority = _signed("wslab conformance runs", None, None, OF_AUTHORITY)
    key, certificate = _signed("localhost", authority_key, authority, OF_SERVER)
    paths = [os.path.join(folder, name) for name in ("key.pem", "certificate.pem", "ca.pem")]
    pems = [
        crypto.dump_privatekey(crypto.FILETYPE_PEM, key),
        crypto.dump_certificate(crypto.FILETYPE_PEM, certificate),
        crypto.dump_certificate(crypto.FILETYPE_PEM, authority),
    ]
    for path, pem in zip(paths, pems):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(pem)
    return paths


def _signed(name, signing_key, signer, extensions):
    key = crypto.PKey()
    key.generate_key(crypto.TYPE_RSA, 2048)
    certificate = crypto.X509()
    certificate.set_version(2)
    certificate.get_subject().CN = name
    certificate.set_issuer((signer or certificate).get_subject())
    certificate.set_serial_number(int(time.time() * 1000) + (1 if signer else 0))
    certificate.gmtime_adj_notBefore(-3600)
    certificate.gmtime_adj_notAfter(LIFETIME)
    certificate.set_pubkey(key)
    certificate.add_extensions([crypto.X509Extension(*extension) for extension in extensions])
    certificate.sign(signing_key or key, "sha256")
    return key, certificate


if __name__ == "__main__":
    make(sys.argv[1])
