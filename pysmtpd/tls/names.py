"""Names in certificates (RFC 6125, RFC 9525)."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID


def certificateNames(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names that a certificate is for, in lower case; wildcards as they stand.

    The common name counts only where there are no alternative names at all, as it does for old private authorities.
    """
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(attribute.value).lower() for attribute in common)
    return tuple(dict.fromkeys(name.lower() for name in alternatives.get_values_for_type(x509.DNSName)))


def isCovered(host: str, name: str) -> bool:
    """Does C{name} of a certificate cover C{host}? A wildcard stands for exactly one label, the first. Both in lower case."""
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:] and not host.startswith(".")
    return host == name
