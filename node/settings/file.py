"""All settings: read once from one TOML file and the environment (for secrets), and passed down."""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from node.errors import BadConfiguration
from node.settings.alarms import Alarms
from node.settings.assemble import Assemble
from node.settings.audit import Audit
from node.settings.backup import Backup
from node.settings.canary import Canary
from node.settings.coverage import Coverage
from node.settings.deliver import Deliver
from node.settings.destination import Destination, Escalation, Hl7, Mail, Webhook
from node.settings.health import Health
from node.settings.pull import Pull, Source
from node.settings.receive import Caller, Receive
from node.settings.retention import Retention, Rule
from node.settings.section import Section
from node.settings.shadow import Shadow
from node.settings.storage import Storage
from node.settings.watch import Watch
from node.settings.web import Token, Viewer, Web
from node.settings.work import Decode, Triage, Work

DEFAULT_FILE = Path("/etc/ichnode/ichnode.toml")
"""Where an installation's settings stand; what a command without `--config` runs on."""


class Log(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="from here up")
    json_lines: bool = Field(False, description="one JSON object a line")


class Settings(BaseSettings):
    """All settings. An unknown key is an error."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="ICHNODE_", env_nested_delimiter="__"
    )

    data_dir: Path = Field(
        Path("~/.local/state/ichnode"), description="spool, cases, cache and the SQLite database"
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL; empty is data_dir/ichnode.sqlite (secret: use the variable)",
    )
    storage: Storage = Storage()
    receive: Receive = Receive()
    assemble: Assemble = Assemble()
    decode: Decode = Decode()
    triage: Triage = Triage()
    shadow: Shadow = Shadow()
    deliver: Deliver = Deliver()
    pull: Pull = Pull()
    coverage: Coverage = Coverage()
    canary: Canary = Canary()
    alarms: Alarms = Alarms()
    watch: Watch = Watch()
    web: Web = Web()
    work: Work = Work()
    retention: Retention = Retention()
    backup: Backup = Backup()
    health: Health = Health()
    audit: Audit = Audit()
    log: Log = Log()

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, folder: Path) -> Path:
        try:
            return folder.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{folder}: there is no such user's home") from error

    @model_validator(mode="after")
    def _asks_sources_that_it_has(self) -> Self:
        names = [source.name for source in self.pull.sources]
        asked = {"assemble.ask": (self.assemble.ask,), "coverage.ask": self.coverage.ask}
        for key, name in ((key, name) for key, some in asked.items() for name in some if name):
            if name not in names:
                known = ", ".join(names) or "none is configured"
                raise ValueError(f"{key}: {name!r} is none of pull.sources ({known})")
        return self

    @model_validator(mode="after")
    def _shares_its_rows_too(self) -> Self:
        if self.storage.is_on and not self.url.startswith("postgresql"):
            raise ValueError("storage.url: an object store needs PostgreSQL, set database_url")
        return self

    @model_validator(mode="after")
    def _can_fly_and_alarm(self) -> Self:
        if self.canary.every_min and self.receive.tls.is_on and not self.canary.tls.is_on:
            raise ValueError("canary.tls: the node's own port speaks TLS alone, so ca is needed")
        if self.watch.reports and not self.receive.adt.port:
            raise ValueError("watch.reports: they come to the port of receive.adt, which is off")
        able = [one.name for one in self.deliver.messaged if one.how in ("mail", "webhook")]
        for name in self.alarms.to:
            if name not in able:
                known = ", ".join(able) or "none is configured"
                raise ValueError(f"alarms.to: {name!r} gets no mail and no webhook ({known})")
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
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # tomllib's own, and UTF-8's
            raise BadConfiguration(f"{path}: {error}") from error
    return _checked(values, str(path or "environment"))


def with_changes(settings: Settings, changed: Settings, keys: Iterable[str]) -> Settings:
    """Return settings that differ in these keys alone, which may name whole sections.

    Raises
    ------
    BadConfiguration
        If the result does not hold together: then these keys depend on others that changed too.
    """
    values, new = settings.model_dump(), changed.model_dump()
    for key in keys:
        *sections, name = key.split(".")
        old_place, new_place = values, new
        for section in sections:
            old_place, new_place = old_place[section], new_place[section]
        old_place[name] = new_place[name]
    return _checked(values, "these changes are in force only after a restart")


def _checked(values: dict[str, Any], where: str) -> Settings:
    """Return the settings of these values; `where` is what an error begins with."""
    for key in values:
        if key.startswith("_"):  # pydantic would take it as a parameter of its own
            raise BadConfiguration(f"{where}: {key}: no such setting")
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [_explain(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        raise BadConfiguration(f"{where}: {'; '.join(lines)}") from error
    except SettingsError as error:
        raise BadConfiguration(f"{where}: {error}") from error


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
    for table in (Caller, Destination, Escalation, Hl7, Mail, Rule, Source, Token, Viewer, Webhook)
    for name in table.model_fields
]
"""The keys of tables that the file may have several of."""
