"""Settings of TLS between DICOM applications: towards callers, and towards peers."""

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, model_validator

from node.settings.section import Section

TlsVersion = Literal["1.2", "1.3"]


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine's loopback, so that no network carries what it gets."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


class ServerTls(Section):
    """TLS of the storage SCP: with a certificate, callers are served over TLS alone."""

    certificate: str = Field(
        "", description="file of the node's certificate and chain, PEM; empty: no TLS"
    )
    key: str = Field("", description="file of the certificate's private key, PEM, not encrypted")
    ca: str = Field(
        "", description="PEM file of who vouches for callers' certificates; empty: none is asked"
    )
    minimum_version: TlsVersion = Field("1.2", description='oldest TLS taken: "1.2" or "1.3"')

    @property
    def is_on(self) -> bool:
        """Whether callers are served over TLS."""
        return bool(self.certificate)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key: both or none")
        if self.ca and not self.certificate:
            raise ValueError("ca needs certificate and key: without them there is no TLS")
        return self


class ClientTls(Section):
    """TLS towards a DICOM peer: with an authority to trust, it is spoken to over TLS alone."""

    ca: str = Field("", description="PEM file of who vouches for its certificate; empty: no TLS")
    certificate: str = Field(
        "", description="file of our certificate and chain, PEM, for a peer that asks for one"
    )
    key: str = Field("", description="file of our certificate's private key, PEM, not encrypted")
    verify_host: bool = Field(True, description="whether its certificate must be for its host")
    minimum_version: TlsVersion = Field("1.2", description='oldest TLS spoken: "1.2" or "1.3"')

    @property
    def is_on(self) -> bool:
        """Whether the peer is spoken to over TLS."""
        return bool(self.ca)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key: both or none")
        if self.certificate and not self.ca:
            raise ValueError("certificate needs ca: without it there is no TLS")
        return self
