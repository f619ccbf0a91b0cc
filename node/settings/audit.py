"""Settings of where the audit trail goes."""

from typing import Self

from pydantic import Field, model_validator

from node.settings.section import Section


class Audit(Section):
    """A collector of audit messages (DICOM PS3.15 A.5) over syslog with TLS (A.6, RFC 5425)."""

    host: str = Field("", description="the collector's address; empty: the trail stays here")
    port: int = Field(6514, gt=0, le=65535, description="the collector's port")
    ca_file: str = Field(
        "", description="PEM file of the authorities that may vouch for it; empty: the usual"
    )
    certificate: str = Field("", description="our certificate and its chain, PEM; empty: none")
    key: str = Field("", description="the private key of our certificate, PEM, not encrypted")
    await_close: bool = Field(
        True, description="what it has counts once it answers our close (RFC 5425 4.4)"
    )

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key are set together")
        return self
