"""The page for other machines: over HTTPS or a proxy, with accounts, or not at all."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from typer.testing import CliRunner

from node.cli import app as commands
from node.errors import BadConfiguration
from node.settings import Settings, Web
from node.web import require_closed, serve_page
from node.web.proxied import Proxied
from node.worklist import Actor, Role, Worklist
from tests.conftest import require_program
from tests.support.databases import new_database
from tests.support.listed import NOW
from tests.support.peers import free_port, listening, wait_until

ADMIN = Actor("root", "terminal")
PROXY = "192.0.2.1"


def settings(folder: Path, **web: object) -> Settings:
    return Settings(data_dir=folder, web=Web.model_validate(web))


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    """A certificate of localhost, signed by itself, and its key."""
    require_program("openssl")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("certificate", "key")}
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", files["key"], "-out", files["certificate"]),
        ],
        check=True,
        capture_output=True,
    )
    return files


def test_other_machines_are_let_in_with_accounts_and_https_only(
    worklist: Worklist, tmp_path: Path, pair: dict[str, str]
) -> None:
    require_closed(settings(tmp_path), worklist)
    with pytest.raises(BadConfiguration, match=r"HTTPS only: set web\.certificate"):
        require_closed(settings(tmp_path, host="0.0.0.0"), worklist)
    for closed in (pair, {"behind_proxy": [PROXY]}):
        with pytest.raises(BadConfiguration, match="ichnode user add NAME"):
            require_closed(settings(tmp_path, host="0.0.0.0", **closed), worklist)
    worklist.accounts.add("N", Role.ADMIN, "hash", ADMIN, NOW)
    for closed in (pair, {"behind_proxy": [PROXY]}):
        require_closed(settings(tmp_path, host="0.0.0.0", **closed), worklist)
    with pytest.raises(BadConfiguration, match="HTTPS only"):
        require_closed(settings(tmp_path, host="::"), worklist)
    with pytest.raises(BadConfiguration, match="HTTPS only"):
        serve_page(settings(tmp_path, host="0.0.0.0"), worklist, lambda: NOW, threading.Event())


def test_the_node_does_not_start_with_an_open_page(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[receive]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f'[web]\nhost = "0.0.0.0"\nport = {free_port()}\n'
    )
    done = CliRunner().invoke(commands, ["serve", "--config", str(config)])
    assert done.exit_code == 2
    assert "over HTTPS only" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("broken", ["certificate", "key", "missing", "encrypted"])
def test_a_certificate_that_cannot_be_used_is_named_at_the_start(
    worklist: Worklist, tmp_path: Path, pair: dict[str, str], broken: str
) -> None:
    if broken == "missing":
        Path(pair["key"]).unlink()
    elif broken == "encrypted":
        encrypt = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", pair["key"]]
        subprocess.run([*encrypt, "-out", pair["key"]], check=True, capture_output=True)
    else:
        Path(pair[broken]).write_text("no PEM")
    with pytest.raises(BadConfiguration, match=r"web\.certificate .* cannot be used"):
        require_closed(settings(tmp_path, **pair), worklist)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="both or none"):
        Web(certificate="x.pem")
    with pytest.raises(ValueError, match="behind_proxy"):
        Web(behind_proxy=("proxy.example",))


@contextmanager
def served(worklist: Worklist, made: Settings) -> Iterator[str]:
    stop = threading.Event()
    server = threading.Thread(target=serve_page, args=(made, worklist, lambda: NOW, stop))
    server.start()
    try:
        wait_until(lambda: listening(made.web.port))
        yield f"localhost:{made.web.port}"
    finally:
        stop.set()
        server.join(timeout=20)
        assert not server.is_alive()


def test_the_page_is_served_over_https(
    worklist: Worklist, tmp_path: Path, pair: dict[str, str]
) -> None:
    worklist.accounts.add("N", Role.ADMIN, "hash", ADMIN, NOW)
    trusting = ssl.create_default_context(cafile=pair["certificate"])
    made = settings(tmp_path, port=free_port(), **pair)
    with served(worklist, made) as host, httpx.Client(verify=trusting, timeout=10) as client:
        page = client.get(f"https://{host}/login")
        assert page.status_code == 200 and "Secure" in page.headers["set-cookie"]
        assert client.get(f"https://{host}/").status_code == 401
        with pytest.raises(httpx.TransportError):
            client.get(f"http://{host}/")


def test_a_proxy_alone_may_ask_and_says_for_whom() -> None:
    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        assert request.client is not None
        await PlainTextResponse(f"{request.client.host} {request.url.scheme}")(scope, receive, send)

    proxied = Proxied(told, [PROXY])
    sent = {"X-Forwarded-For": "198.51.100.66, 192.0.2.7", "X-Forwarded-Proto": "https"}
    through = TestClient(proxied, client=(PROXY, 4711))
    assert through.get("/", headers=sent).text == "192.0.2.7 https"
    beside = TestClient(proxied, client=("192.0.2.9", 4711))
    assert beside.get("/", headers=sent).status_code == 403


def test_doctor_says_who_sees_the_page(tmp_path: Path) -> None:
    from node.cli.doctor import check_page

    new_database(settings(tmp_path).url)
    (here,) = check_page(settings(tmp_path))
    assert (here.verdict, here.found) == ("ok", "this machine")
    (open_to_all,) = check_page(settings(tmp_path, host="0.0.0.0"))
    assert open_to_all.verdict == "bad" and "HTTPS only" in open_to_all.found
