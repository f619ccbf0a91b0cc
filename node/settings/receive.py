"""Settings of what comes in: who may associate, and the patient index."""

from ipaddress import ip_network
from typing import Literal, Self

from pydantic import Field, model_validator

from node.settings.section import Section
from node.settings.tls import ClientTls, ServerTls, is_this_machine


class Adt(Section):
    """HL7 v2 over MLLP: ADT messages of the patient index, and reports if `watch.reports` is on."""

    port: int = Field(0, ge=0, le=65535, description="TCP port to listen on; 0: off")
    host: str = Field("0.0.0.0", description="address to listen on for HL7")
    allowed_addresses: tuple[str, ...] = Field(
        (), description="addresses that may send HL7; empty admits this machine only"
    )
    assigner: str = Field(
        "", description="PID-3.4 of the identifier that is the PatientID; empty: the first one"
    )
    max_age_days: float = Field(
        7.0, gt=0, description="studies that came longer ago keep their identity, days"
    )


class Caller(Section):
    """One peer that may associate with the node, and what for."""

    ae_title: str = Field(min_length=1, max_length=16, description="the caller's AE title")
    address: str = Field("", description="its address or network; empty: any")
    certificate: str = Field(
        "",
        description='subject ("CN=CT7,O=Hospital") or fingerprint ("sha256:...") of its '
        "certificate; empty: any",
    )
    may: tuple[Literal["store", "find", "move", "get", "commit"], ...] = Field(
        ("store",),
        description='what it may do: "store", "find", "move", "get", "commit" (storage commitment)',
    )
    host: str = Field("", description="where it listens for reports of storage commitment")
    port: int = Field(0, ge=0, le=65535, description="its port there; 0: as a destination, or none")
    tls: ClientTls = ClientTls()


class Receive(Section):
    """The storage SCP."""

    ae_title: str = Field("ICHNODE", max_length=16, description="our AE title")
    host: str = Field("0.0.0.0", description="address to listen on")
    port: int = Field(11112, ge=0, le=65535, description="TCP port; 0 takes a free one")
    allowed_callers: tuple[str, ...] = Field(
        (),
        description='callers that may store: "AE_TITLE" or "AE_TITLE@ADDRESS"',
    )
    callers: tuple[Caller, ...] = Field(
        (),
        description="callers with their rights; no caller in either list: this machine may store",
    )
    insecure: bool = Field(
        False, description="whether callers beyond this machine may come without TLS"
    )
    max_pdu_bytes: int = Field(262144, ge=4096, description="largest PDU we accept, bytes")
    max_associations: int = Field(16, ge=1, description="associations at once")
    max_associations_of_caller: int = Field(
        16, ge=1, description="associations at once of one caller"
    )
    max_connections_a_minute: int = Field(
        6000, ge=1, description="connections a minute from one address"
    )
    max_object_mb: int = Field(1024, ge=1, description="larger objects are answered A700, MB")
    max_header_mb: int = Field(
        64, ge=1, description="objects with a longer header are quarantined, MB"
    )
    network_timeout_s: float = Field(60.0, gt=0, description="idle association is aborted, seconds")
    commitment_days: float = Field(
        30.0, gt=0, description="how long an object is kept that the node committed itself to, days"
    )
    min_free_mb: int = Field(2048, ge=0, description="below this much free disk we answer A700")
    tls: ServerTls = ServerTls()
    adt: Adt = Adt()

    @model_validator(mode="after")
    def _lets_nobody_in_unseen(self) -> Self:
        if any(caller.certificate for caller in self.callers) and not self.tls.ca:
            raise ValueError(
                "callers: certificate needs tls.ca: without it nobody is asked for one"
            )
        if self.is_open and not self.tls.is_on and not self.insecure:
            raise ValueError(
                "callers beyond this machine would send patients' images in clear: set certificate "
                "and key in [receive.tls], or insecure = true in [receive] to allow it"
            )
        return self

    @model_validator(mode="after")
    def _knows_where_callers_are(self) -> Self:
        parts = {f"allowed_callers: {text!r}": text.partition("@") for text in self.allowed_callers}
        places = {where: place for where, (_, at, place) in parts.items() if at}
        places |= {f"callers: {one.ae_title}": one.address for one in self.callers if one.address}
        for where, place in places.items():
            try:
                ip_network(place)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        return self

    @property
    def is_open(self) -> bool:
        """Whether anybody beyond this machine may associate."""
        places = [text.partition("@")[2] for text in self.allowed_callers]
        places += [caller.address for caller in self.callers]
        return not is_this_machine(self.host) and not all(map(_is_loopback, places))


def _is_loopback(place: str) -> bool:
    try:
        return ip_network(place).is_loopback
    except ValueError:  # any address; or none, which is said once it is read
        return False
