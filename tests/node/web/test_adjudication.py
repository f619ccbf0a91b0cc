"""The page of adjudication over HTTP: who gets in, and what a request may do."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from node.archive.adjudication import Desk, draw, read_decisions
from node.archive.evidence import read_joined
from node.archive.proof import Proof
from node.web.adjudication import adjudication_app
from node.web.adjudication.heads import Heads
from tests.support.proofs import made_up

TOKEN, PORT = "t" * 43, 8043
HOME = f"http://127.0.0.1:{PORT}"
NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)

Opened = Callable[..., tuple[TestClient, Desk]]


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    made = made_up(tmp_path / "proof", 60, prevalence=0.3)[0]
    made.image("x").parent.mkdir()
    for study in read_joined(made).studies:
        hu = np.full((6, 30, 40), 40, np.int16)
        mask = np.zeros(hu.shape, bool)
        mask[4, 5:9, 5:9] = True
        np.savez(
            made.image(study.name),
            hu=hu,
            mask=mask,
            spacing_mm=[5, 1, 1],
            probability=np.arange(6) / 10,
            orientation=[1, 0, 0, 0, 1, 0],
        )
    return made


@pytest.fixture
def opened(proof: Proof) -> Opened:
    def open_(*, who: str = "anna", blind: bool = False) -> tuple[TestClient, Desk]:
        studies = read_joined(proof).studies
        sample = draw(studies, 5, 1, NOW)
        desk = Desk(proof, studies, sample, lambda: NOW, who=who, blind=blind)
        app = adjudication_app(desk, Heads(proof), TOKEN, PORT, lambda: NOW)
        return TestClient(app, base_url=HOME), desk

    return open_


def enter(client: TestClient) -> dict[str, str]:
    """Come in as a browser does; return the header that its scripts send."""
    assert client.get(f"/?token={TOKEN}").status_code == 200
    return {"x-ichnode-page": client.cookies["ichnode_page"], "origin": HOME}


def test_only_the_browser_that_shows_the_token_first_gets_in(opened: Opened) -> None:
    client, _ = opened()
    for path in ("/", "/?token=wrong", "/progress", "/asked/0", "/assets/room.css"):
        assert client.get(path).status_code == 403
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert client.get("/").status_code == 200
    stranger = TestClient(client.app, base_url=HOME)
    assert stranger.get(f"/?token={TOKEN}").status_code == 403
    stranger.cookies.set(f"ichnode_desk_{PORT}", TOKEN)
    assert stranger.get("/").status_code == 403


def test_another_host_name_is_refused(opened: Opened) -> None:
    client, _ = opened()
    elsewhere = TestClient(client.app, base_url="http://attacker.example")
    assert elsewhere.get(f"/?token={TOKEN}").status_code == 400


def test_every_answer_is_locked_and_stays_in_no_cache(opened: Opened) -> None:
    client, _ = opened()
    enter(client)
    for path in ("/", "/progress", "/asked/0/slices/0.png"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_nothing_is_decided_by_a_request_of_another_page(opened: Opened, proof: Proof) -> None:
    client, _ = opened()
    ours = enter(client)
    body = {"place": 0, "answer": "none"}
    for headers in ({}, {"origin": HOME}, {**ours, "origin": "http://attacker.example"}):
        for path in ("/decide", "/undo", "/who"):
            assert client.post(path, json=body, headers=headers).status_code == 403
    assert client.get("/decide").status_code == 405
    assert not proof.decisions.exists()
    assert client.post("/decide", json=body, headers=ours).json()["done"] == 1
    assert read_decisions(proof.decisions).lines[0].answer == "none"
    assert client.post("/undo", json={}, headers=ours).json() == {"place": 0}


@pytest.mark.parametrize(
    "body",
    [
        {"place": 10_000, "answer": "none"},
        {"place": -1, "answer": "none"},
        {"place": "0", "answer": "none"},
        {"place": True, "answer": "none"},
        {"place": 0, "answer": "perhaps"},
        {"place": 0, "answer": ["none"]},
        {"place": 0, "answer": "bleeds", "subtypes": "subdural"},
        {"place": 0, "answer": "bleeds", "subtypes": [1]},
        {"place": 0, "answer": "bleeds", "note": {}},
        {},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    opened: Opened, proof: Proof, body: dict[str, object]
) -> None:
    client, _ = opened()
    ours = enter(client)
    assert client.post("/decide", json=body, headers=ours).status_code in (400, 422)
    assert not proof.decisions.exists()


def test_who_decides_is_asked_once_and_before_anything_is_shown(opened: Opened) -> None:
    client, desk = opened(who="")
    ours = enter(client)
    assert "Who decides?" in client.get("/").text
    assert client.get("/asked/0").status_code == 403
    assert client.get("/asked/0/slices/0.png").status_code in (403, 404)
    assert client.post("/who", json={"name": "<b>"}, headers=ours).status_code == 422
    assert client.post("/who", json={"name": " ben "}, headers=ours).status_code == 200
    assert desk.who == "ben" and "Adjudication" in client.get("/").text
    assert client.post("/who", json={"name": "eve"}, headers=ours).status_code == 422


def test_slices_come_in_windows_and_the_outline_apart(opened: Opened) -> None:
    client, _ = opened()
    enter(client)
    facts = client.get("/asked/0").json()
    assert (facts["slices"], facts["first"]) == (6, 5)
    assert facts["sides"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    pictures = {
        name: client.get(f"/asked/0/slices/4.png?window={name}").content
        for name in ("brain", "subdural", "bone")
    }
    assert len(set(pictures.values())) == 3
    outlined, empty = (client.get(f"/asked/0/slices/{z}/mask.png").content for z in (4, 0))
    assert len(outlined) > len(empty) and outlined.startswith(b"\x89PNG")
    for path in ("/asked/0/slices/6.png", "/asked/0/slices/0.png?window=x", "/asked/999"):
        assert client.get(path).status_code == 404


def test_a_blinded_page_has_nothing_of_node_and_report(opened: Opened) -> None:
    client, desk = opened(blind=True)
    enter(client)
    for place in range(len(desk)):
        facts = client.get(f"/asked/{place}").json()
        assert "node" not in facts and "report" not in facts
        assert facts["first"] == 3  # the middle, whatever the node thinks likely
    assert client.get("/asked/0/slices/4/mask.png").status_code == 404
    html = client.get("/").text
    assert "What the node says" not in html and "Outline" not in html


def test_a_study_without_images_is_asked_about_all_the_same(opened: Opened, proof: Proof) -> None:
    client, desk = opened()
    proof.image(desk.study(0).name).unlink()
    enter(client)
    assert client.get("/asked/0").json()["slices"] == 0
    assert client.get("/asked/0/slices/0.png").status_code == 404
