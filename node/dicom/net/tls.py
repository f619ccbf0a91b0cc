"""TLS between DICOM applications (PS3.15 B.12): contexts, handshakes and certificates.

The profile is BCP 195: TLS 1.2 or newer (RFC 8996), and the cipher suites of RFC 9325.
"""

import logging
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
from node.dicom.net.stream import CLOSE_S, drain
from node.dicom.net.tls_failures import why
from node.errors import BadConfiguration
from node.log import event
from node.settings import ClientTls, ServerTls

logger = logging.getLogger(__name__)

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


class Renewing:
    """The context of an acceptor, made anew once its files have changed.

    So a renewed certificate needs no restart. While what they hold cannot be used, for example
    between the writing of the certificate and of its key, the context before goes on.

    Raises
    ------
    BadConfiguration
        As `server_context`, at first.
    """

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._seen = self._stamps()
        self._context = server_context(tls)

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._context = server_context(self._tls)
                logger.info("certificate renewed", extra=event("certificate_renewed"))
            except BadConfiguration as error:
                logger.error("certificate not renewed: %s", error, extra=event("not_renewed"))
        return self._context

    def _stamps(self) -> list[tuple[int, int] | None]:
        """Return what tells whether each file has changed; None of one that is not there."""
        files = filter(None, (self._tls.certificate, self._tls.key, self._tls.ca))
        return [_stamp(Path(file)) for file in files]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


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
        connection.settimeout(CLOSE_S)
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
