"""Certificates for tests: self-signed, made when they are needed."""

from __future__ import annotations

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl


@functools.cache
def selfSigned(*names: str) -> tuple[bytes, bytes]:
    """A certificate and its key, both PEM, for these host names; the same for the same names within a process."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    # Wide enough for any virtual date.
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


@functools.cache
def serverOptions(*names: str) -> ssl.CertificateOptions:
    """What a scripted server gives to C{startTLS}; the same for the same names, so that sessions can be resumed."""
    certificate, key = selfSigned(*names)
    own = ssl.PrivateCertificate.loadPEM(certificate + key)
    options = ssl.CertificateOptions(own.privateKey.original, own.original, enableSessionTickets=True)
    options.getContext().set_session_id(b"pysmtpd.testing")
    return options
