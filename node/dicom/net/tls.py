"""TLS between DICOM applications (PS3.15 B.12): the contexts, and words for what goes wrong.

The profile is BCP 195: TLS 1.2 or newer (RFC 8996), and the cipher suites of RFC 9325.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509

from node.dicom.net.association import AssociationLost
from node.dicom.net.stream import drain
from node.errors import BadConfiguration
from node.settings import ClientTls, ServerTls

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""The cipher suites of TLS 1.2 that are offered and taken (RFC 9325, 4.2), by OpenSSL's names.
Those of TLS 1.3 are OpenSSL's: RFC 8446 names no weak ones."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a peer showed.

    Attributes
    ----------
    subject
        Whose it is, as RFC 4514 writes names: "CN=CT7,O=Hospital".
    sha256
        The fingerprint of the whole certificate in hexadecimal digits.
    """

    subject: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.subject} (sha256:{self.sha256})"


_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return the context of an acceptor; with `ca` every caller must show a certificate.

    Raises
    ------
    BadConfiguration
        If a file cannot be read or used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls.minimum_version)
    context.options |= ssl.OP_NO_TICKET
    # PDUs tell what is cut short; without it nothing could be sent any more to a peer that closes.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.num_tickets = 0  # a peer that closes with one unread would reset the connection
    _show(context, tls.certificate, tls.key, "receive.tls")
    if tls.ca:
        _trust(context, tls.ca, "receive.tls")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Return the context of a requestor; its sockets are `WatchedSocket`s.

    Raises
    ------
    BadConfiguration
        If a file cannot be read or used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls.minimum_version)
    context.sslsocket_class = WatchedSocket
    context.check_hostname = tls.verify_host
    _trust(context, tls.ca, "tls")
    if tls.certificate:
        _show(context, tls.certificate, tls.key, "tls")
    return context


class WatchedSocket(ssl.SSLSocket):
    """Keeps the first error of a handshake or of reading, which pynetdicom drops.

    By TLS 1.3 a peer that wants a certificate says so after the handshake, where we read.
    """

    failure: OSError | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Agree on keys with the peer."""
        try:
            super().do_handshake(block)
        except OSError as error:
            self.failure = error
            raise

    def recv(self, *arguments: Any) -> bytes:
        """Return some of what the peer sent."""
        try:
            return super().recv(*arguments)
        except ssl.SSLError as error:
            self.failure = self.failure or error
            raise


def _context(protocol: int, minimum_version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[minimum_version]
    context.set_ciphers(":".join(CIPHERS))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # One who is named in the file of authorities is trusted, whoever vouches for them.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str, where: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password="")  # never asks for one
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"{where}: certificate {certificate} and key {key} cannot be used: {error}"
        ) from error


def _trust(context: ssl.SSLContext, ca: str, where: str) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise BadConfiguration(f"{where}: ca {ca} cannot be used: {error}") from error


@contextmanager
def by_tls(connection: socket.socket, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Yield a connection that was accepted, for TLS; close it at the end.

    Nothing is sent or read before `shake_hands`.

    Raises
    ------
    AssociationLost
        If the peer has ended it already.
    """
    try:
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except OSError as error:
        raise AssociationLost(f"no TLS: {why(error)}") from error
    with secured:
        yield secured


def shake_hands(connection: ssl.SSLSocket, timeout_s: float) -> None:
    """Return once the peer and we have agreed on keys, in this time altogether.

    Raises
    ------
    AssociationLost
        If that fails; the message says why, and the peer was told by an alert.
    """
    try:
        connection.settimeout(timeout_s)
        connection.do_handshake()
    except OSError as error:
        drain(connection)  # else closing may cut off the alert
        raise AssociationLost(f"no TLS: {why(error)}") from error


def shown_by(connection: ssl.SSLSocket) -> Certificate | None:
    """Return the peer's certificate, which is good; None if the peer was asked for none."""
    der = connection.getpeercert(binary_form=True)
    if der is None:
        return None
    certificate = x509.load_der_x509_certificate(der)
    return Certificate(certificate.subject.rfc4514_string(), sha256(der).hexdigest())


def good_until(path: str) -> datetime:
    """Return when the first of the certificates in a PEM file expires.

    Raises
    ------
    BadConfiguration
        If the file cannot be read, or holds none.
    """
    try:
        held = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{path}: {error}") from error
    return min(certificate.not_valid_after_utc for certificate in held)


def why(error: OSError) -> str:
    """Return what went wrong with TLS; "it" is the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = _UNTRUSTED.get(error.verify_code, error.verify_message)
        return f"its certificate {said}"
    if isinstance(error, TimeoutError):
        return "it does not answer the handshake in time"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it ended the connection within the handshake, and may speak no TLS"
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason, f"{error.reason}".lower().replace("_", " "))
    return str(error.strerror)


_UNTRUSTED = {
    2: "is from an authority that we do not trust",
    9: "is not valid yet",
    10: "has expired",
    18: "is from an authority that we do not trust (self-signed)",
    19: "is from an authority that we do not trust",
    20: "is from an authority that we do not trust",
    21: "is from an authority that we do not trust",
    23: "is revoked",
    26: "is not meant for this (extended key usage)",
    62: "is not for the host name that we know it by",
    64: "is not for the address that we know it by",
}
"""What each error of verification means (X509_V_ERR_* of OpenSSL)."""

_NO_TLS = "it speaks no TLS"
_OUR_AUTHORITY = "it does not trust the authority of our certificate"
_REFUSES = "it refuses our certificate"
_VERSION = "it has no version of TLS that we take"
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_MESSAGE": _NO_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "NO_SHARED_CIPHER": "it has no cipher suite that we take",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it wants a certificate of ours, or another cipher suite",
    "TLSV1_ALERT_UNKNOWN_CA": _OUR_AUTHORITY,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _REFUSES,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSES,
    "TLSV1_ALERT_ACCESS_DENIED": _REFUSES,
}
"""What each error of a handshake means, by OpenSSL's name of it; ALERT: the peer said so."""
