"""Settings of who gets results, and how: a peer for each way to send, and chains of escalation."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from node.settings.section import Section
from node.settings.tls import ClientTls
from node.states import Priority


def _plain(text: str) -> str:
    """Return the text, which must be one line of printable characters."""
    if not text.isprintable():
        raise ValueError("no control characters")
    return text


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*|", text):
        raise ValueError("the name of an environment variable, not the secret itself")
    return text


_URL = r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[!-~]*)?"
Plain = Annotated[str, AfterValidator(_plain)]
Variable = Annotated[str, AfterValidator(_variable)]
"""The name of an environment variable."""
Event = Literal["flag", "raise", "supersede", "retract"]
EVENTS: tuple[Event, ...] = ("flag", "raise", "supersede", "retract")


class Webhook(Section):
    """A signed POST of JSON (how = "webhook")."""

    url: Plain = Field("", description="where to POST: https://HOST/PATH, no user or password")
    secret_variable: Variable = Field(
        "", description="environment variable that holds the key of the HMAC-SHA256 signature"
    )
    ca_file: str = Field("", description="PEM file of the authorities to trust; empty: the usual")


class Hl7(Section):
    """An HL7 v2 message ORU^R01 over MLLP (how = "hl7")."""

    version: Literal["2.3.1", "2.4", "2.5", "2.5.1"] = Field("2.5.1", description="MSH-12")
    sending_application: Plain = Field("ICHNODE", max_length=64, description="MSH-3")
    sending_facility: Plain = Field("", max_length=64, description="MSH-4")
    receiving_application: Plain = Field("", max_length=64, description="MSH-5")
    receiving_facility: Plain = Field("", max_length=64, description="MSH-6")
    processing_id: Literal["P", "T", "D"] = Field(
        "P", description='MSH-11: "P" production, "T" training, "D" debugging'
    )
    charset: Literal["ASCII", "8859/1", "UNICODE UTF-8"] = Field(
        "UNICODE UTF-8", description="MSH-18, and how the message is encoded"
    )
    assigner: Plain = Field("", max_length=64, description="PID-3.4, who gave the PatientID")
    accession_in: tuple[Literal["OBR-2", "OBR-3", "OBR-18"], ...] = Field(
        ("OBR-3", "OBR-18"), min_length=1, description="fields that hold the AccessionNumber"
    )
    service: tuple[Plain, Plain, Plain] = Field(
        ("ICHTRIAGE", "ICH triage, research use only", "L"),
        description="OBR-4: code, text, coding system",
    )
    retract_with: Literal["D", "W"] = Field(
        "D", description='OBX-11 of what is taken back: "D" deleted or "W" wrong'
    )
    withdraw_with: Literal["W", "D"] = Field(
        "W", description='OBX-11 of what a person withdrew: "W" wrong or "D" deleted'
    )


class Mail(Section):
    """A short e-mail (how = "mail")."""

    sender: Plain = Field("", description="address it comes from")
    recipient: Plain = Field("", description="address it goes to, one; use a list's for several")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description='"starttls", "tls" from the first byte, or "none"'
    )
    login_variable: Variable = Field(
        "", description='environment variable that holds "user:password"; empty: no login'
    )
    ca_file: str = Field("", description="PEM file of the authorities to trust; empty: the usual")


class Destination(Section):
    """One peer that gets the results, as objects or as messages."""

    name: str = Field(description="how logs and the worklist call it")
    how: Literal["dicom", "webhook", "hl7", "mail"] = Field(
        "dicom", description='"dicom" (C-STORE of objects); messages: "webhook", "hl7" or "mail"'
    )
    ae_title: str = Field("", max_length=16, description="its AE title (dicom)")
    host: str = Field("", description="its address (dicom, hl7, mail)")
    port: int = Field(0, ge=0, le=65535, description="its port (dicom, hl7, mail)")
    commitment: bool = Field(
        False,
        description="whether an object counts as delivered only once it has committed itself to "
        "keep it (dicom)",
    )
    send: tuple[Literal["seg", "sr", "text", "capture", "gsps", "key"], ...] = Field(
        ("seg", "sr", "text", "capture"),
        description='which objects it gets (dicom), of these and "gsps" (outline) and "key" '
        "(key slice)",
    )
    rejection_note: bool = Field(
        False,
        description="whether it gets a rejection note (IHE IOCM) of results that are withdrawn; "
        "some archives show one as a key image (dicom)",
    )
    canary: bool = Field(
        False, description="whether it gets the canary's objects, and no patient's (dicom)"
    )
    events: tuple[Event, ...] = Field(
        EVENTS,
        description="which messages it gets: the first result, a priority raised, a result "
        "replaced, a suspicion taken back; of what is withdrawn it hears in any case",
    )
    priorities: tuple[Literal["SUSPECTED", "NOT_ANALYSED", "NOT_SUSPECTED"], ...] = Field(
        ("SUSPECTED",), description="which priorities it gets messages about"
    )
    priors: bool = Field(False, description="whether it gets messages about prior studies too")
    patient_id: bool = Field(
        False, description="whether a webhook or an e-mail holds the PatientID; HL7 always does"
    )
    tls: ClientTls = ClientTls()
    webhook: Webhook = Webhook()
    hl7: Hl7 = Hl7()
    mail: Mail = Mail()

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        missing = [key for key, value in self._needed().items() if not value]
        if missing:
            raise ValueError(f'{self.name}: how = "{self.how}" needs {" and ".join(missing)}')
        if self.tls.is_on and self.how != "dicom":
            raise ValueError(f'{self.name}: tls is for how = "dicom"')
        for name in ("canary", "rejection_note"):
            if getattr(self, name) and self.how != "dicom":
                raise ValueError(f'{self.name}: {name} = true is for how = "dicom"')
        if self.how == "webhook" and not re.fullmatch(_URL, self.webhook.url):
            raise ValueError(f"{self.name}: webhook.url must be https://HOST[:PORT]/PATH")
        if self.how == "mail":
            for key, address in (("sender", self.mail.sender), ("recipient", self.mail.recipient)):
                if not re.fullmatch(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+", address):
                    raise ValueError(f"{self.name}: mail.{key} must be one address, name@host")
        return self

    def _needed(self) -> dict[str, object]:
        """Return what its way of sending cannot do without, by key."""
        address: dict[str, object] = {"host": self.host, "port": self.port}
        match self.how:
            case "dicom":
                return {"ae_title": self.ae_title, **address}
            case "webhook":
                hook = self.webhook
                return {"webhook.url": hook.url, "webhook.secret_variable": hook.secret_variable}
            case "hl7":
                return address
            case "mail":
                mail = self.mail
                return {**address, "mail.sender": mail.sender, "mail.recipient": mail.recipient}

    @property
    def where(self) -> str:
        """Its address for people; of a URL the host alone, since a path may hold a secret."""
        if self.how == "webhook":
            return "/".join(self.webhook.url.split("/")[:3])
        of = f"{self.ae_title}@" if self.how == "dicom" else ""
        return f"{of}{self.host}:{self.port}"

    def wants(self, event: str, priorities: tuple[Priority, ...], *, prior: bool) -> bool:
        """Return whether it gets a message about what happened to a study.

        Parameters
        ----------
        priorities
            The study's priority after it and, if the study was announced, before it.
        """
        concerned = any(priority in self.priorities for priority in priorities)
        return event in self.events and concerned and (self.priors or not prior)


class Escalation(Section):
    """One step of a chain: who is told when nobody has acknowledged a suspected study."""

    after_minutes: float = Field(gt=0, description="minutes from the first message of suspicion")
    to: tuple[str, ...] = Field(min_length=1, description="names of destinations of messages")
