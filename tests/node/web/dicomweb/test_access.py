"""Who may use DICOMweb, and what a caller can do by its paths."""

import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from node.errors import BadConfiguration
from node.settings import Settings, Token, Web, load
from node.web import dicomweb_service
from node.web.dicomweb.access import Access
from node.worklist import Worklist
from tests.support.archiving import (
    READ,
    WRITE,
    ServedArchive,
    now,
    raw_request,
    serving_archive,
    tokens,
)
from tests.support.databases import new_database
from tests.support.peers import ct_series

STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedArchive]:
    folder = tmp_path_factory.mktemp("archive")
    with serving_archive(folder) as served:
        served.take(ct_series(folder / "sent", 2))
        yield served


def body(file: Path) -> bytes:
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    return head + file.read_bytes() + b"\r\n--b--\r\n"


def service(folder: Path, **web: object) -> tuple[Worklist, Mount]:
    settings = Settings(data_dir=folder, web=Web(**web))
    new_database(settings.url)
    worklist = Worklist(settings.url)
    mount = dicomweb_service(settings, worklist.archive, worklist.arrivals, now)
    assert isinstance(mount, Mount)
    return worklist, mount


def filled(path: str) -> str:
    for name in ("study", "series", "instance"):
        path = path.replace(f"{{{name}}}", "1.2.3")
    return path.replace("{frames}", "1").replace("{tag}", "7FE00010")


def test_no_resource_answers_without_a_token_or_with_a_wrong_one(tmp_path: Path) -> None:
    worklist, mount = service(tmp_path / "node", tokens=tokens(tmp_path))
    routes = [route for route in mount.routes if isinstance(route, Route)]
    assert len(routes) > 20
    shown: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer " + "x" * 24},
        {"Authorization": f"Bearer {READ}x"},
        {"Authorization": f"Basic {READ}"},
        {"Authorization": f"{READ}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xe9"},
        {"Cookie": f"token={READ}; Authorization=Bearer {READ}"},
    ]
    with TestClient(Starlette(routes=[mount]), client=("127.0.0.1", 1)) as client, worklist:
        for route in routes:
            for method in (route.methods or set()) - {"HEAD"}:
                for headers in shown:
                    encoded = {k: v.encode("latin-1") for k, v in headers.items()}
                    answer = client.request(
                        method, f"/dicom-web{filled(route.path)}", headers=encoded
                    )
                    assert answer.status_code == 401, (method, route.path, headers)
                    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_allows_what_it_says_and_nothing_more(
    archive: ServedArchive, tmp_path: Path
) -> None:
    (file,) = ct_series(tmp_path, 1, seed="new")
    with archive.http(READ, **STOW) as reader, archive.http(WRITE, **STOW) as writer:
        refused = reader.post("/studies", content=body(file))
        assert (refused.status_code, "write" in refused.text) == (403, True)
        study = dcmread(file).StudyInstanceUID
        assert reader.get(f"/studies/{study}").status_code == 404
        assert writer.post("/studies", content=body(file)).status_code == 200
        assert reader.get(f"/studies/{study}").status_code == 200


def test_without_tokens_this_machine_reads_and_nobody_writes(tmp_path: Path) -> None:
    (file,) = ct_series(tmp_path / "sent", 1)
    worklist, mount = service(tmp_path / "node")
    app = Starlette(routes=[mount])
    with worklist:
        for address, status in (
            ("127.0.0.1", 204),
            ("::1", 204),
            ("::ffff:127.0.0.1", 204),
            ("192.0.2.1", 401),
            ("::ffff:192.0.2.1", 401),
            ("2001:db8::1", 401),
            ("nonsense", 401),
        ):
            client = TestClient(app, client=(address, 1))
            assert client.get("/dicom-web/studies").status_code == status, address
            for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):  # a proxy here
                answer = client.get("/dicom-web/studies", headers={header: "for=127.0.0.1"})
                assert answer.status_code == 401, address
            stow = client.post("/dicom-web/studies", content=body(file), headers=STOW)
            assert stow.status_code == 401


def test_a_wrong_token_reads_nothing_on_this_machine_either(tmp_path: Path) -> None:
    worklist, mount = service(tmp_path / "node")
    with TestClient(Starlette(routes=[mount]), client=("127.0.0.1", 1)) as client, worklist:
        headers = {"Authorization": f"Bearer {READ}"}
        assert client.get("/dicom-web/studies", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/studies/../../etc/passwd",
        "/studies/..%2f..%2fetc%2fpasswd",
        "/studies/%2e%2e/series",
        "/studies/1.2%00/metadata",
        "/studies/1.2/series/1.3/instances/..%5c..%5csecrets/rendered",
        "/studies/1.2/series/1.3/instances/1.4/bulkdata/..%2f..%2fx",
        "/studies/1.2/series/1.3/instances/1.4/frames/..%2f1",
        "/studies/" + "1" * 65,
        "/studies/1.2;drop/series",
    ],
)
def test_a_path_leads_nowhere_else(tmp_path: Path, path: str) -> None:
    with serving_archive(tmp_path, web={}) as archive:
        port = archive.settings.web.port
        status = raw_request(port, f"/dicom-web{path}").split(b" ", 2)[1]
        assert status in (b"400", b"404")
        assert raw_request(port, "/dicom-web/studies").split(b" ", 2)[1] == b"204"


def test_another_host_name_is_not_answered(tmp_path: Path) -> None:
    with serving_archive(tmp_path, web={}) as archive:
        answer = raw_request(archive.settings.web.port, "/dicom-web/studies", host="evil.example")
    assert answer.split(b" ", 2)[1] == b"400"


def test_scripts_of_a_configured_origin_alone_may_read(tmp_path: Path) -> None:
    viewer = "https://viewer.example"
    worklist, mount = service(tmp_path / "a", tokens=tokens(tmp_path), origins=[viewer])
    asked = {"Access-Control-Request-Method": "GET"}
    asked |= {"Access-Control-Request-Headers": "authorization"}
    with TestClient(Starlette(routes=[mount])) as client, worklist:
        for origin, allowed in ((viewer, viewer), ("https://evil.example", None)):
            answer = client.options("/dicom-web/studies", headers={"Origin": origin, **asked})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
            headers = {"Origin": origin, "Authorization": f"Bearer {READ}"}
            answer = client.get("/dicom-web/studies", headers=headers)
            assert answer.headers.get("access-control-allow-origin") == allowed
    worklist, mount = service(tmp_path / "b", tokens=tokens(tmp_path))
    with TestClient(Starlette(routes=[mount])) as client, worklist:
        answer = client.options("/dicom-web/studies", headers={"Origin": viewer, **asked})
        assert "access-control-allow-origin" not in answer.headers


def test_the_log_holds_no_query_and_no_secret(archive: ServedArchive) -> None:
    written = StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    handler.addFilter(lambda record: not record.name.startswith("http"))  # the client's own
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with archive.http(READ) as http:
            assert http.get("/studies?PatientName=SECRETNAME").status_code == 204
            assert http.get("/studies?PatientComments=SECRETNAME").status_code == 400
            assert http.get("/studies?PatientName=SECRETNAME&StudyDate=x").status_code == 400
            assert http.post("/studies", content=b"SECRETNAME").status_code == 403
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "SECRETNAME" not in written.getvalue()
    assert READ not in written.getvalue()


def test_secrets_come_from_a_variable_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = Token(name="t", secret_variable="ICHNODE_TEST_TOKEN")
    for value, why in ((None, "no secret"), ("short", "16"), ("\xe9" * 20, "ASCII")):
        if value is not None:
            monkeypatch.setenv("ICHNODE_TEST_TOKEN", value)
        with pytest.raises(BadConfiguration, match=why):
            Access.of([token])
    monkeypatch.setenv("ICHNODE_TEST_TOKEN", "long enough for a secret")
    assert Access.of([token]).holders[0].name == "t"
    with pytest.raises(BadConfiguration, match="same secret"):
        Access.of([token, token.model_copy(update={"name": "other"})])
    with pytest.raises(BadConfiguration, match="nowhere"):
        Access.of([Token(name="t", secret_file=str(tmp_path / "nowhere"))])


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[[web.tokens]]\nname = "t"', "either secret_variable or secret_file"),
        ('[[web.tokens]]\nname = "t"\nsecret = "x"', "no such setting"),
        ('[web]\norigins = ["*"]', "no origin"),
        ('[web]\norigins = ["https://a.example/path"]', "no origin"),
    ],
)
def test_settings_that_would_open_the_door_are_refused(tmp_path: Path, toml: str, why: str) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text(toml)
    with pytest.raises(BadConfiguration, match=why):
        load(path)


def test_answers_are_kept_by_no_cache(archive: ServedArchive) -> None:
    with archive.http(READ) as http:
        answer: httpx.Response = http.get("/studies")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
