"""One C{pki} of the configuration: a certificate with its chain and its key, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pysmtpd.model.config import PkiSpec
from pysmtpd.tls.names import certificateNames, isCovered

SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pki:
    """
    @ivar chain: the server's certificate, and those that vouch for it; empty where there are C{faults}.
    @ivar key: a private key of C{cryptography}.
    @ivar names: of the certificate.
    @ivar faults: why it cannot be used, for people; empty: it can.
    """

    spec: PkiSpec
    chain: tuple[x509.Certificate, ...]
    key: Any
    names: tuple[str, ...]
    faults: tuple[str, ...]


def load(spec: PkiSpec, readFile: Callable[[str], bytes]) -> Pki:
    """Read both files. Never raises: see C{faults}.

    @param readFile: a whole file; raises L{OSError}.
    """
    faults = []
    chain: tuple[x509.Certificate, ...] = ()
    key: Any = None
    try:
        chain = tuple(x509.load_pem_x509_certificates(readFile(spec.cert)))
    except OSError as error:
        faults.append(f"certificate {spec.cert}: {error.strerror or error}")
    except ValueError:
        # What the library says of it would help nobody.
        faults.append(f"certificate {spec.cert} is not in PEM form, or damaged")
    try:
        key = load_pem_private_key(readFile(spec.key), None)
    except OSError as error:
        faults.append(f"key {spec.key}: {error.strerror or error}")
    except TypeError:
        faults.append(f"key {spec.key} is encrypted; the daemon cannot ask for its password")
    except UnsupportedAlgorithm:
        faults.append(f"key {spec.key} is of a kind that is not supported")
    except ValueError:
        faults.append(f"key {spec.key} is not a private key in PEM form, or damaged")
    if chain and key is not None:
        mine = _public(key.public_key())
        owners = [_public(certificate.public_key()) == mine for certificate in chain]
        if not any(owners):
            faults.append(f"key {spec.key} does not belong to certificate {spec.cert}")
        elif not owners[0]:
            faults.append(f"certificate {spec.cert}: the server's own certificate must come first")
    prefix = f"{spec.where}: pki {spec.name}: "
    if faults:
        return Pki(spec, (), None, (), tuple(prefix + fault for fault in faults))
    return Pki(spec, chain, key, certificateNames(chain[0]), ())


def warnings(pki: Pki, now: float) -> list[str]:
    """What an operator should know of a certificate that can be used.

    @param now: wall-clock seconds.
    """
    if not pki.chain:
        return []
    at = datetime.fromtimestamp(now, UTC)
    spec = pki.spec
    found = []
    for number, certificate in enumerate(pki.chain):
        what = f"certificate {spec.cert}" if number == 0 else f"certificate {number + 1} of {spec.cert}"
        end, begin = certificate.not_valid_after_utc, certificate.not_valid_before_utc
        if end <= at:
            found.append(f"{what} expired on {end:%Y-%m-%d}")
        elif end - at < SOON:
            found.append(f"{what} expires on {end:%Y-%m-%d}, in {(end - at).days} days")
        if begin > at:
            found.append(f"{what} is not valid before {begin:%Y-%m-%d}")
    name = spec.name.lower()
    if not pki.names:
        found.append(f"certificate {spec.cert} names no host")
    elif "." in name and not any(isCovered(name, covered) for covered in pki.names):
        found.append(f"certificate {spec.cert} is not for {name}, but for {', '.join(pki.names[:5])}")
    return [f"{spec.where}: pki {spec.name}: {text}" for text in found]


def _public(key: Any) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets
