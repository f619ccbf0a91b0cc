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
    Escalation,
    Oidc,
    Receive,
    Rule,
    Settings,
    Source,
    Token,
    Triage,
    Viewer,
    Web,
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
    [
        *(*fields(Settings), *fields(Destination), *fields(Escalation), *fields(Caller)),
        *(*fields(Rule), *fields(Source), *fields(Token), *fields(Viewer)),
    ],
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
    def load_detector(*_: object, subtypes: str, key_slice: str, operating_point: str) -> None:
        raise BundleError(f"no {subtypes}, no {key_slice}, no {operating_point}")

    monkeypatch.setattr("models.bundle.load_detector", load_detector)
    settings = Settings(
        triage=Triage(subtypes="slices", key_slice="attention", operating_point="quiet")
    )
    with pytest.raises(BadConfiguration, match="triage: no slices, no attention, no quiet"):
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"# \xe4\n", "utf-8"),
        (b"a = " + b"[" * 20_000, "recursion"),
        (b'data_dir = "~nobody-of-this-name/x"', "data_dir"),
        (b"[receive]\nport = " + b"9" * 6000, "limit"),
        (b'_env_file = "/etc/passwd"', "_env_file: no such setting"),
    ],
)
def test_file_that_is_no_settings_file_is_said_to_be_none(
    text: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_bytes(text)
    with pytest.raises(BadConfiguration, match=says) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_variable_that_is_no_section_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICHNODE_RECEIVE", "port 104")
    with pytest.raises(BadConfiguration, match="receive"):
        load()


def test_peer_is_a_destination_or_an_address() -> None:
    pacs = Destination(name="pacs", ae_title="PACS", host="192.0.2.1", port=104)
    settings = Settings(deliver={"destinations": [pacs.model_dump()]})
    assert peer("pacs", settings) == pacs
    other = peer("OTHER@[::1]:11112", settings)
    assert (other.ae_title, other.host, other.port) == ("OTHER", "::1", 11112)
    with pytest.raises(BadConfiguration, match="pacs"):
        peer("nobody", settings)


def example(text: str, first: str) -> str:
    """Return the lines from the one that begins so to the next empty one, switched on."""
    start = text.index(first)
    end = text.index("\n\n", start)
    return text[start:end].replace("\n# ", "\n").removeprefix("# ")


def test_shipped_file_is_valid_toml_when_its_examples_are_switched_on() -> None:
    text = SHIPPED.read_text().replace("# # ", "## ")
    for section, table in (
        ("deliver", "destinations"),
        ("pull", "sources"),
        ("receive", "callers"),
        ("web", "tokens"),
        ("web", "viewers"),
    ):
        on_trust = "[receive]\ninsecure = true\n" if table == "callers" else ""
        given = tomllib.loads(on_trust + example(text, f"# [[{section}.{table}"))
        switched_on = Settings(**given)
        assert len(getattr(getattr(switched_on, section), table)) == 1
    chain = tomllib.loads(example(text, "# [[deliver.escalations"))["deliver"]["escalations"]
    assert Escalation(**chain[0]).to == ("on-call",)


MESSAGES = """
[[deliver.destinations]]
name = "ris"
how = "hl7"
host = "ris.example"
port = 2575
[deliver.destinations.hl7]
receiving_application = "RIS"
[[deliver.destinations]]
name = "chat"
how = "webhook"
[deliver.destinations.webhook]
url = "https://chat.example/hook/secret"
secret_variable = "ICHNODE_HOOK"
[[deliver.destinations]]
name = "on-call"
how = "mail"
host = "mail.example"
port = 587
events = ["retract"]
[deliver.destinations.mail]
sender = "ichnode@hospital.example"
recipient = "on-call@hospital.example"
[[deliver.escalations]]
after_minutes = 10
to = ["on-call", "ris"]
"""


def test_destinations_of_each_kind_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text(MESSAGES)
    deliver = load(path).deliver
    assert [one.how for one in deliver.messaged] == ["hl7", "webhook", "mail"]
    assert deliver.archives == ()
    assert [one.where for one in deliver.messaged] == [
        *("ris.example:2575", "https://chat.example", "mail.example:587")
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("port = 2575", "", 'ris: how = "hl7" needs port'),
        ('how = "hl7"', "", 'ris: how = "dicom" needs ae_title'),
        ('url = "https://chat.example/hook/secret"', "", "chat: .* needs webhook.url"),
        ('secret_variable = "ICHNODE_HOOK"', "", "chat: .* needs webhook.secret_variable"),
        ('"ICHNODE_HOOK"', '"s3cret!"', "secret_variable: .*not the secret itself"),
        ("https://chat.example/hook/secret", "https://a:b@chat.example/", "webhook.url must be"),
        ("https://chat.example/hook", "https://chat.example/a b", "webhook.url must be"),
        ("https://chat.example/hook", "https://chat.example:port/", "webhook.url must be"),
        ("https://chat.example/hook", "file:///etc/passwd", "webhook.url must be"),
        ('recipient = "on-call@hospital.example"', "", "on-call: .* needs mail.recipient"),
        ("on-call@hospital.example", "a@b, c@d", "mail.recipient must be one address"),
        ("ichnode@hospital.example", "a@b\\nBcc: c@d", "mail.sender: .*control characters"),
        ('to = ["on-call", "ris"]', 'to = ["nobody"]', "'nobody' is no destination of messages"),
        ("after_minutes = 10", "after_minutes = 0", "escalations.0.after_minutes"),
        (
            'receiving_application = "RIS"',
            'receiving_facilty = "R"',
            "did you mean receiving_facility",
        ),
        ('events = ["retract"]', 'events = ["recall"]', "events"),
    ],
)
def test_message_setting_that_cannot_work_is_named(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "ichnode.toml"
    assert old in MESSAGES
    path.write_text(MESSAGES.replace(old, new))
    with pytest.raises(BadConfiguration, match=says):
        load(path)


def test_a_pacs_cannot_be_escalated_to(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text(
        '[[deliver.destinations]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 104\n'
        '[[deliver.escalations]]\nafter_minutes = 5\nto = ["pacs"]\n'
    )
    with pytest.raises(BadConfiguration, match="'pacs' is no destination of messages"):
        load(path)


def test_feedback_without_a_login_stays_on_this_machine() -> None:
    assert Web(open_feedback_as="Dr. Night").host == "127.0.0.1"
    with pytest.raises(ValueError, match="loopback"):
        Web(host="0.0.0.0", open_feedback_as="Dr. Night")


TLS = {"certificate": "node.pem", "key": "node.key"}


@pytest.mark.parametrize(
    "receive",
    [
        {},
        {"host": "127.0.0.1", "allowed_callers": ["CT1"]},
        {"allowed_callers": ["CT1@127.0.0.1"], "callers": [{"ae_title": "A", "address": "::1"}]},
        {"allowed_callers": ["CT1"], "insecure": True},
        {"allowed_callers": ["CT1"], "tls": TLS},
    ],
)
def test_callers_in_clear_are_on_this_machine_or_allowed_in_so_many_words(
    receive: dict[str, object],
) -> None:
    assert Receive.model_validate(receive).insecure is receive.get("insecure", False)


@pytest.mark.parametrize(
    "receive",
    [
        'allowed_callers = ["CT1"]',
        'allowed_callers = ["CT1@192.0.2.7"]',
        'allowed_callers = ["CT1@127.0.0.1", "CT2@192.0.2.0/24"]',
        'allowed_callers = ["CT1@127.0.0.0/7"]',
        'host = "::"\n[[receive.callers]]\nae_title = "VIEWER"',
    ],
)
def test_callers_beyond_this_machine_need_tls_and_the_error_names_both_ways_out(
    tmp_path: Path, receive: str
) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text(f"[receive]\n{receive}\n")
    with pytest.raises(BadConfiguration, match=r"certificate and key in \[receive\.tls\], or inse"):
        load(path)


def test_a_callers_certificate_is_asked_for_or_the_setting_is_wrong() -> None:
    caller = {"ae_title": "CT7", "certificate": "CN=CT7"}
    with pytest.raises(ValueError, match=r"needs tls\.ca"):
        Receive.model_validate({"callers": [caller], "tls": TLS})
    assert Receive.model_validate({"callers": [caller], "tls": {**TLS, "ca": "ca.pem"}}).is_open


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"issuer": "http://idp.example"}, "https://HOST"),
        ({"issuer": "https://user@idp.example"}, "https://HOST"),
        ({"client_id": ""}, "client_id"),
        ({"admins": []}, "nobody has a role"),
    ],
)
def test_an_identity_provider_is_configured_wholly(wrong: dict[str, object], said: str) -> None:
    whole = {"issuer": "https://idp.example/a", "client_id": "ichnode", "admins": ["pacs-admin"]}
    assert Oidc.model_validate(whole).role_claim == "roles"
    with pytest.raises(ValueError, match=said):
        Oidc.model_validate(whole | wrong)


@pytest.mark.parametrize("url", ["javascript://%0aalert(1)", "data:text/html,x", "https://a b"])
def test_a_viewers_address_is_one_that_only_opens_something(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Viewer(name="X", url=url)


def test_a_canary_must_speak_tls_where_the_node_s_own_port_does() -> None:
    tls = {"certificate": "cert.pem", "key": "key.pem"}
    canary: dict[str, object] = {"every_min": 10}
    with pytest.raises(ValueError, match=r"canary\.tls"):
        Settings(receive={"tls": tls}, canary=canary)  # type: ignore[arg-type]
    canary["tls"] = {"ca": "cert.pem"}
    assert Settings(receive={"tls": tls}, canary=canary).canary.tls.is_on  # type: ignore[arg-type]


def test_coverage_asks_sources_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"coverage\.ask: 'archive' is none of pull\.sources"):
        Settings(coverage={"ask": ["archive"]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("storage", "why"),
    [
        ({"url": "s3://bucket"}, "an object store needs PostgreSQL"),
        ({"url": "https://bucket"}, "s3://bucket/prefix"),
        ({"url": "s3://key:secret@bucket"}, "without credentials"),
        ({"endpoint": "https://key:secret@store"}, "without credentials"),
        ({"endpoint": "http://store.example:9000"}, "not encrypted"),
        ({"cache_gb": 0}, "greater than or equal to 1"),
    ],
)
def test_storage_that_cannot_work_or_is_not_safe_is_refused(
    storage: dict[str, object], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ICHNODE_DATABASE_URL", raising=False)
    file = tmp_path / "ichnode.toml"
    lines = "\n".join(f"{key} = {value!r}" for key, value in storage.items())
    file.write_text(f"[storage]\n{lines}\n")
    with pytest.raises(BadConfiguration, match=why):
        load(file)


def test_an_object_store_with_postgresql_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "ichnode.toml"
    file.write_text(
        'database_url = "postgresql+psycopg://node@db/ichnode"\n'
        '[storage]\nurl = "s3://bucket/node"\nendpoint = "http://127.0.0.1:9000"\n'
    )
    assert load(file).storage.is_on
