"""Settings of the page: where it is served, to whom, and what signs people in."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from node.settings.section import Section


class Viewer(Section):
    """One viewer that a study can be opened in, by an address."""

    name: str = Field(min_length=1, max_length=32, description="what its button says")
    url: str = Field(
        pattern=r"^(https?|weasis|osirix|radiant)://[^\s\"'<>]+$",
        description="its address; {StudyInstanceUID}, {SeriesInstanceUID} and {SOPInstanceUID} "
        "stand for the study, the series that was read and its slice to look at first",
    )


LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses to listen on that only this machine reaches."""


class Oidc(Section):
    """Sign-in at an identity provider, by OpenID Connect."""

    issuer: str = Field("", description="the provider's address, https://HOST/...; empty: none")
    client_id: str = Field("", description="how the provider calls this node")
    secret_variable: str = Field(
        "ICHNODE_OIDC_SECRET", description="environment variable that holds the client's secret"
    )
    title: str = Field("single sign-on", max_length=64, description="what its link says")
    scope: str = Field("openid profile", description="what is asked for")
    name_claim: str = Field("preferred_username", description="claim that names a person")
    role_claim: str = Field(
        "roles", description="claim of the ID token that holds roles; a dot leads into an object"
    )
    viewers: tuple[str, ...] = Field((), description="its values that make a viewer")
    radiologists: tuple[str, ...] = Field((), description="its values that make a radiologist")
    admins: tuple[str, ...] = Field((), description="its values that make an admin")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.issuer and not re.match(
            r"https://[^/@?#]+(/[^?#]*)?$|http://(localhost|127\.0\.0\.1)[:/]", self.issuer
        ):
            raise ValueError("issuer must be https://HOST/PATH")
        if self.issuer and not (self.client_id and self.secret_variable):
            raise ValueError("issuer needs client_id and secret_variable")
        if self.issuer and not (self.viewers or self.radiologists or self.admins):
            raise ValueError("issuer needs viewers, radiologists or admins, or nobody has a role")
        return self


class Token(Section):
    """One bearer token of DICOMweb; its secret stands in a variable or a file, never here."""

    name: str = Field(min_length=1, description="how logs and the worklist call its holder")
    secret_variable: str = Field("", description="environment variable that holds the secret")
    secret_file: str = Field("", description="file that holds the secret, and nothing else")
    may: tuple[Literal["read", "write"], ...] = Field(
        ("read",), description='what it allows: "read" (QIDO-RS, WADO-RS), "write" (STOW-RS)'
    )

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if bool(self.secret_variable) == bool(self.secret_file):
            raise ValueError(f"{self.name}: either secret_variable or secret_file")
        return self


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/@*\s]+", text):
        raise ValueError(f"{text!r} is no origin: https://HOST or https://HOST:PORT")
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class Web(Section):
    """The triage page, and DICOMweb under /dicom-web."""

    host: str = Field(
        "127.0.0.1", description="address; beyond loopback it needs accounts and HTTPS"
    )
    port: int = Field(8042, ge=0, le=65535, description="TCP port; 0 takes a free one")
    url: str = Field(
        "", description="address that DICOMweb answers link to; empty: as the caller named it"
    )
    origins: tuple[Origin, ...] = Field(
        (), description="origins of viewers whose scripts may use DICOMweb (CORS)"
    )
    tokens: tuple[Token, ...] = Field(
        (), description="bearer tokens of DICOMweb; none: this machine may read, nobody write"
    )
    hosts: tuple[str, ...] = Field(
        (), description="names that browsers call it by, beside this machine's own and loopback"
    )
    open_feedback_as: str = Field(
        "",
        max_length=64,
        description="on loopback without a login: who acknowledges; empty: nobody can",
    )
    certificate: str = Field("", description="file of its TLS certificate and chain, PEM; with key")
    key: str = Field("", description="file of the certificate's private key, PEM, not encrypted")
    behind_proxy: tuple[str, ...] = Field(
        (), description="addresses of the proxy that ends HTTPS and alone may ask; empty: none"
    )
    session_idle_min: float = Field(120, gt=0, description="unused, a sign-in ends after, minutes")
    session_hours: float = Field(12, gt=0, description="used or not, a sign-in ends after, hours")
    max_live_clients: int = Field(100, ge=1, description="open pages that are kept up to date")
    pictures_mb: int = Field(768, ge=64, description="memory for decoded series, MB")
    oidc: Oidc = Oidc()
    viewers: tuple[Viewer, ...] = Field(
        (), description="where a study can be opened, one table for each"
    )

    @model_validator(mode="after")
    def _has_key_and_certificate(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key: both or none")
        return self

    @field_validator("behind_proxy")
    @classmethod
    def _names_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_address(address)) for address in addresses)

    @model_validator(mode="after")
    def _keeps_feedback_on_loopback(self) -> Self:
        if self.open_feedback_as and self.host not in LOOPBACK:
            raise ValueError("open_feedback_as names one person for all: it needs a loopback host")
        return self
