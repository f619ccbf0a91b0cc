import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from models.bundle import BundleError
from node.cases import detector
from node.errors import BadConfiguration
from node.settings import (
    BUNDLES,
    Caller,
    Destination,
    Settings,
    Source,
    Token,
    Triage,
    load,
    peer,
)
from tests.support import ROOT

SHIPPED = ROOT / "config" / "ichnode.toml"


def fields(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Name and description of every leaf setting."""
    found: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += fields(field.annotation)
        else:
            found.append((name, field.description or ""))
    return found


def test_shipped_file_holds_the_defaults() -> None:
    assert load(SHIPPED) == Settings()


@pytest.mark.parametrize(
    ("name", "description"),
    [each for table in (Settings, Destination, Source, Caller, Token) for each in fields(table)],
)
def test_every_setting_stands_in_the_shipped_file_with_its_description(
    name: str, description: str
) -> None:
    assert description, f"{name} has no description"
    lines = SHIPPED.read_text().replace("# # ", "# ").splitlines()
    settings = [re.sub(r"^(# )?(\[\[\w+\.)?", "", line) for line in lines]
    stands = any(line.startswith((f"{name} = ", f"{name}]]")) for line in settings)
    assert stands and f"# {description}" in lines


def test_unknown_key_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text('[receive]\nae_titel = "X"\n')
    with pytest.raises(BadConfiguration, match=r"receive\.ae_titel.*did you mean ae_title"):
        load(path)


def test_value_out_of_range_names_its_key(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text("[receive]\nport = 70000\n")
    with pytest.raises(BadConfiguration, match=r"receive\.port"):
        load(path)


def test_a_bundle_is_named_or_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    for said, meant in (
        ("ich-ensemble", BUNDLES / "ich-ensemble"),
        ("bundles/ich-ensemble", Path("bundles/ich-ensemble")),
        (str(tmp_path), tmp_path),
    ):
        path.write_text(f'[triage]\nbundle = "{said}"\n')
        assert load(path).triage.bundle == meant
    assert (BUNDLES / "ich-ensemble" / "SHA256SUMS").is_file()


def test_a_reader_that_the_bundle_lacks_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_detector(*_: object, subtypes: str, key_slice: str) -> None:
        raise BundleError(f"no {subtypes}, no {key_slice}")

    monkeypatch.setattr("models.bundle.load_detector", load_detector)
    settings = Settings(triage=Triage(subtypes="sequence", key_slice="attention"))
    with pytest.raises(BadConfiguration, match="triage: no sequence, no attention"):
        detector.load_detector(settings)


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text('data_dir = "a"\n[receive]\nport = 104\nae_title = "FILE"\n')
    monkeypatch.setenv("ICHNODE_RECEIVE__PORT", "11199")
    settings = load(path)
    assert (settings.receive.port, settings.receive.ae_title) == (11199, "FILE")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="nowhere.toml"):
        load(tmp_path / "nowhere.toml")


def test_peer_is_a_destination_or_an_address() -> None:
    pacs = Destination(name="pacs", ae_title="PACS", host="192.0.2.1", port=104)
    settings = Settings(deliver={"destinations": [pacs.model_dump()]})
    assert peer("pacs", settings) == pacs
    other = peer("OTHER@[::1]:11112", settings)
    assert (other.ae_title, other.host, other.port) == ("OTHER", "::1", 11112)
    with pytest.raises(BadConfiguration, match="pacs"):
        peer("nobody", settings)


def test_shipped_file_is_valid_toml_when_its_examples_are_switched_on() -> None:
    text = SHIPPED.read_text().replace("# # ", "## ")
    for section, table in (
        ("deliver", "destinations"),
        ("pull", "sources"),
        ("receive", "callers"),
        ("web", "tokens"),
    ):
        start = text.index(f"# [[{section}.{table}")
        end = text.index("\n\n", start)
        example = text[start:end].replace("\n# ", "\n").removeprefix("# ")
        switched_on = Settings(**tomllib.loads(example))
        assert len(getattr(getattr(switched_on, section), table)) == 1
