"""Settings: read once from one TOML file and the environment (for secrets), and passed down."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.destination import Destination, Escalation, Hl7, Mail, Section, Webhook
from node.errors import BadConfiguration
from node.web_settings import Token, Viewer, Web

BUNDLES = Path(__file__).parents[1] / "models" / "bundles"
"""Has a folder for each bundle that comes with ichnode, by its name."""


class Adt(Section):
    """The patient index: ADT messages of HL7 v2 over MLLP."""

    port: int = Field(0, ge=0, le=65535, description="TCP port to listen on; 0: off")
    host: str = Field("0.0.0.0", description="address to listen on for ADT")
    allowed_addresses: tuple[str, ...] = Field(
        (), description="addresses that may send ADT; empty admits this machine only"
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
    may: tuple[Literal["store", "find", "move", "get"], ...] = Field(
        ("store",), description='what it may do: "store", "find", "move", "get"'
    )


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
    max_pdu_bytes: int = Field(262144, ge=4096, description="largest PDU we accept, bytes")
    max_associations: int = Field(16, ge=1, description="associations at once")
    max_object_mb: int = Field(1024, ge=1, description="larger objects are answered A700, MB")
    network_timeout_s: float = Field(60.0, gt=0, description="idle association is aborted, seconds")
    min_free_mb: int = Field(2048, ge=0, description="below this much free disk we answer A700")
    adt: Adt = Adt()


def _word(text: str) -> str:
    """Return the text without the space around it; it must be a word and no pattern."""
    word = " ".join(text.split())
    if not 2 <= len(word) <= 64 or not any(map(str.isalpha, word)):
        raise ValueError(f"{text!r} is no word: 2 to 64 characters, one of them a letter")
    return word


Word = Annotated[str, AfterValidator(_word)]


class Assemble(Section):
    """When a series is complete, and which series can be read."""

    grace_s: float = Field(2.0, ge=0, description="wait after the evidence is complete, seconds")
    idle_s: float = Field(60.0, ge=0, description="close a series without evidence, seconds")
    min_slices: int = Field(3, ge=3, description="fewer slices are not analysed")
    min_coverage_mm: float = Field(80.0, gt=0, description="shorter scans are not analysed, mm")
    max_gap_factor: float = Field(
        1.6, gt=1, description="a gap this many times the spacing around it is a missing slice"
    )
    read_contrast: bool = Field(False, description="read contrast-enhanced series all the same")
    min_age_years: float = Field(2.0, ge=0, description="younger patients are not analysed, years")
    prior_after_days: int = Field(
        7,
        ge=0,
        description="a study acquired longer before it arrives is a prior, days; 0: none is",
    )
    ask: str = Field(
        "",
        description="which of pull.sources is asked how many images a series has; empty: none",
    )
    words_with_contrast: tuple[Word, ...] = Field(
        (), description="further words of a series description that name a contrast agent"
    )
    words_without_contrast: tuple[Word, ...] = Field(
        (), description="further words of a series description that deny a contrast agent"
    )
    words_head: tuple[Word, ...] = Field((), description="further words that name a head")
    words_elsewhere: tuple[Word, ...] = Field(
        (), description="further words that name another part of the body"
    )

    @model_validator(mode="after")
    def _has_one_meaning_a_word(self) -> Self:
        for yes, no in (
            ("words_with_contrast", "words_without_contrast"),
            ("words_head", "words_elsewhere"),
        ):
            both = {w.casefold() for w in getattr(self, yes)} & {
                w.casefold() for w in getattr(self, no)
            }
            if both:
                raise ValueError(f"{sorted(both)[0]!r} stands both in {yes} and in {no}")
        return self


class Decode(Section):
    """The process that decodes pixels: what one series may take before it is not analysed."""

    timeout_s: float = Field(120.0, gt=0, description="longest time for a series, seconds")
    memory_mb: int = Field(4096, ge=64, description="most memory for a series, MB")


def _bundle_folder(bundle: Path) -> Path:
    """Return the folder of a bundle that comes with ichnode, or the given folder."""
    return {folder.name: folder for folder in BUNDLES.glob("*")}.get(str(bundle), bundle)


class Triage(Section):
    """The detector: its bundle, and how it runs."""

    bundle: Annotated[Path, AfterValidator(_bundle_folder)] = Field(
        Path("ich-ensemble"),
        validate_default=True,
        description="name of a bundle that comes with ichnode, or a bundle's folder",
    )
    subtypes: Literal["auto", "ensemble", "sequence"] = Field(
        "auto", description='who names subtypes: "ensemble", "sequence"; "auto" as the bundle says'
    )
    key_slice: Literal["auto", "lesion", "attention"] = Field(
        "auto", description='who picks the key slice: "lesion" (most of it), "attention", or "auto"'
    )
    runtime: Literal["auto", "cuda", "openvino", "torch"] = Field(
        "auto", description="where the networks run"
    )


class Deliver(Section):
    """How results go out."""

    retry_s: float = Field(10.0, gt=0, description="first wait after a failure; doubles each time")
    max_retry_s: float = Field(900.0, gt=0, description="longest wait between two tries, seconds")
    max_attempts: int = Field(100, ge=1, description="then a person must look")
    timeout_s: float = Field(30.0, gt=0, description="association and DIMSE time limit, seconds")
    destinations: tuple[Destination, ...] = Field(
        (), description="who gets the results, one table for each"
    )
    escalations: tuple[Escalation, ...] = Field(
        (), description="who is told when nobody acknowledges, one table for each step"
    )

    @model_validator(mode="after")
    def _escalates_to_whom_it_knows(self) -> Self:
        known = {one.name for one in self.messaged}
        for name in (name for step in self.escalations for name in step.to):
            if name not in known:
                raise ValueError(f"escalations: {name!r} is no destination of messages")
        return self

    @property
    def archives(self) -> tuple[Destination, ...]:
        """Who gets objects, by C-STORE."""
        return tuple(one for one in self.destinations if one.how == "dicom")

    @property
    def messaged(self) -> tuple[Destination, ...]:
        """Who gets messages."""
        return tuple(one for one in self.destinations if one.how != "dicom")


class Source(Section):
    """One peer that studies are fetched from, by `ichnode pull`."""

    name: str = Field(description="how `ichnode pull --from` and messages call it")
    how: Literal["get", "move", "web"] = Field(
        "get", description='"get" (C-GET), "move" (C-MOVE to receive.ae_title) or "web" (DICOMweb)'
    )
    ae_title: str = Field("", max_length=16, description="the source's AE title (get, move)")
    host: str = Field("", description="the source's address (get, move)")
    port: int = Field(104, ge=1, le=65535, description="the source's port (get, move)")
    url: str = Field("", description="base address of its QIDO-RS and WADO-RS (web)")
    token_variable: str = Field(
        "", description="environment variable that holds a bearer token (web)"
    )
    login_variable: str = Field(
        "", description='environment variable that holds "user:password" (web)'
    )

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if self.how == "web" and not re.match(r"https?://[^/@]+(/|$)", self.url):
            raise ValueError(f"{self.name}: url must be https://HOST/PATH, no user or password")
        if self.how != "web" and not (self.ae_title and self.host):
            raise ValueError(f'{self.name}: how = "{self.how}" needs ae_title, host and port')
        if self.token_variable and self.login_variable:
            raise ValueError(f"{self.name}: either token_variable or login_variable")
        return self


class Pull(Section):
    """Where `ichnode pull` fetches studies from."""

    timeout_s: float = Field(60.0, gt=0, description="silence of a source that ends it, seconds")
    sources: tuple[Source, ...] = Field((), description="who can be asked, one table for each")


class Work(Section):
    """The worker."""

    poll_s: float = Field(0.2, gt=0, description="look for work this often, seconds")
    lease_s: float = Field(60.0, gt=0, description="a silent worker loses its case, seconds")
    max_attempts: int = Field(3, ge=1, description="tries of a stage before the case is FAILED")


class Log(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="from here up")
    json_lines: bool = Field(False, description="one JSON object a line")


class Settings(BaseSettings):
    """All settings. An unknown key is an error."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="ICHNODE_", env_nested_delimiter="__"
    )

    data_dir: Path = Field(Path("var"), description="spool, cases, cache and the SQLite database")
    database_url: str = Field(
        "",
        description="SQLAlchemy URL; empty is data_dir/ichnode.sqlite (secret: use the variable)",
    )
    receive: Receive = Receive()
    assemble: Assemble = Assemble()
    decode: Decode = Decode()
    triage: Triage = Triage()
    deliver: Deliver = Deliver()
    pull: Pull = Pull()
    web: Web = Web()
    work: Work = Work()
    log: Log = Log()

    @model_validator(mode="after")
    def _asks_a_source(self) -> Self:
        names = [source.name for source in self.pull.sources]
        if self.assemble.ask and self.assemble.ask not in names:
            known = ", ".join(names) or "none is configured"
            raise ValueError(
                f"assemble.ask: {self.assemble.ask!r} is none of pull.sources ({known})"
            )
        return self

    @property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'ichnode.sqlite').absolute()}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let environment variables win over the file, which `load` passes as arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def peer(text: str, settings: Settings) -> Destination:
    """Return the destination of that name, or the one that "AE_TITLE@HOST:PORT" describes.

    Raises
    ------
    BadConfiguration
        If it is neither.
    """
    for destination in settings.deliver.destinations:
        if destination.name == text:
            return destination
    found = _address(text)
    if found is None:
        known = ", ".join(d.name for d in settings.deliver.destinations) or "none is configured"
        raise BadConfiguration(
            f"{text!r} is neither AE_TITLE@HOST:PORT nor a destination's name ({known})"
        )
    return Destination(name=text, **found)


def source(text: str, settings: Settings) -> Source:
    """Return the source of that name, or the one that an address describes.

    "AE_TITLE@HOST:PORT" is a source for C-GET, "https://HOST/PATH" for DICOMweb.

    Raises
    ------
    BadConfiguration
        If it is none of these.
    """
    for known in settings.pull.sources:
        if known.name == text:
            return known
    if re.match("https?://", text):
        try:
            return Source(name=text, how="web", url=text)
        except ValidationError as error:
            raise BadConfiguration(error.errors()[0]["msg"]) from error
    found = _address(text)
    if found is None:
        names = ", ".join(known.name for known in settings.pull.sources) or "none is configured"
        raise BadConfiguration(
            f"{text!r} is neither AE_TITLE@HOST:PORT, https://HOST/PATH nor a source ({names})"
        )
    return Source(name=text, **found)


def _address(text: str) -> dict[str, Any] | None:
    """Return the parts of "AE_TITLE@HOST:PORT" by the settings' names; None of another text."""
    match = re.fullmatch(r"(?P<ae_title>[^@]{1,16})@(?P<host>.+):(?P<port>\d{1,5})", text)
    if match is None:
        return None
    return {
        "ae_title": match["ae_title"],
        "host": match["host"].strip("[]"),
        "port": int(match["port"]),
    }


def load(path: Path | None = None) -> Settings:
    """Return the settings of a TOML file, or the defaults, with ICHNODE_* variables on top.

    Raises
    ------
    BadConfiguration
        If the file cannot be read, or a key is unknown or out of range; the message names the key
        and the nearest valid one.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadConfiguration(f"{path}: {error}") from error
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [_explain(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        raise BadConfiguration(f"{path or 'environment'}: {'; '.join(lines)}") from error


def _explain(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in loc)
    if kind != "extra_forbidden":
        return f"{key}: {message}"
    near = difflib.get_close_matches(str(loc[-1]), _keys(Settings), n=1)
    return f"{key}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _keys(model: type[BaseModel]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        found.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys(field.annotation)
    return [*found, *_IN_TABLES]


_IN_TABLES = [
    name
    for table in (Caller, Destination, Escalation, Hl7, Mail, Source, Token, Viewer, Webhook)
    for name in table.model_fields
]
"""The keys of tables that the file may have several of."""
