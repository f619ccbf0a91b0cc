"""Settings of where studies are fetched from."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from node.settings.section import Section
from node.settings.tls import ClientTls


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
    tls: ClientTls = ClientTls()

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if self.how == "web" and not re.match(r"https?://[^/@]+(/|$)", self.url):
            raise ValueError(f"{self.name}: url must be https://HOST/PATH, no user or password")
        if self.how != "web" and not (self.ae_title and self.host):
            raise ValueError(f'{self.name}: how = "{self.how}" needs ae_title, host and port')
        if self.how == "web" and self.tls.is_on:
            raise ValueError(f"{self.name}: tls is for get and move; a url is https or not")
        if self.token_variable and self.login_variable:
            raise ValueError(f"{self.name}: either token_variable or login_variable")
        return self


class Pull(Section):
    """Where `ichnode pull` fetches studies from."""

    timeout_s: float = Field(60.0, gt=0, description="silence of a source that ends it, seconds")
    sources: tuple[Source, ...] = Field((), description="who can be asked, one table for each")
