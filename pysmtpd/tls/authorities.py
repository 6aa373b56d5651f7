"""One C{ca} of the configuration: certificates that vouch for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509

from pysmtpd.model.config import CaSpec


@dataclass(frozen=True, slots=True)
class Authorities:
    """
    @ivar certificates: empty where there are C{faults}.
    @ivar faults: why they cannot be used, for people; empty: they can.
    """

    spec: CaSpec
    certificates: tuple[x509.Certificate, ...]
    faults: tuple[str, ...]


def loadAuthorities(spec: CaSpec, readFile: Callable[[str], bytes]) -> Authorities:
    """Read the file. Never raises: see C{faults}.

    @param readFile: a whole file; raises L{OSError}.
    """
    try:
        certificates = tuple(x509.load_pem_x509_certificates(readFile(spec.cert)))
    except OSError as error:
        fault = f"{spec.cert}: {error.strerror or error}"
    except ValueError:
        fault = f"{spec.cert} is not in PEM form, or damaged"
    else:
        return Authorities(spec, certificates, ())
    return Authorities(spec, (), (f"{spec.where}: ca {spec.name}: {fault}",))
