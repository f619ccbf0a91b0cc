"""Settings of where images and results are kept, if not in the data folder alone."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from node.settings.section import Section
from node.settings.tls import is_this_machine


class Storage(Section):
    """An S3-compatible object store that keeps the bytes; credentials come by the environment."""

    url: str = Field("", description="s3://bucket/prefix; empty: the data folder keeps them alone")
    endpoint: str = Field("", description="https://host:port of the store; empty: Amazon's own")
    region: str = Field("us-east-1", description="as the store calls it")
    ca: str = Field("", description="PEM file of the authority that signs for it; empty: public")
    insecure: bool = Field(False, description="allow an endpoint on the network without TLS")
    timeout_s: float = Field(20.0, gt=0, description="longest time of one request")
    cache_gb: float = Field(
        50.0, ge=1, description="copies that a machine keeps in its data folder, GiB"
    )

    @field_validator("url")
    @classmethod
    def _names_a_bucket(cls, url: str) -> str:
        if url and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*/?", url):
            raise ValueError("it must be s3://bucket or s3://bucket/prefix, without credentials")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        if not self.endpoint:
            return self
        found = re.fullmatch(r"(https?)://([^/:@]+|\[[^\]]+\])(:\d+)?/?", self.endpoint)
        if found is None:
            raise ValueError("endpoint must be https://host:port, without credentials")
        plain = found[1] == "http" and not is_this_machine(found[2].strip("[]"))
        if plain and not self.insecure:
            raise ValueError("endpoint is not encrypted: use https, or set insecure = true")
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is an object store."""
        return bool(self.url)
