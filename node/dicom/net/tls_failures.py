"""Words for what goes wrong with TLS, so that an admin knows which side must change what."""

import ssl


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
