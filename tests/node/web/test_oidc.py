"""Sign-in at an identity provider, which a small one of the tests plays."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from node.depot import Depot
from node.dicom.read.pixels import load_volume
from node.errors import BadConfiguration
from node.settings import Settings, Web
from node.web import Pictures, app, oidc, require_closed
from node.worklist import Actor, Deed, Role, Worklist
from tests.support.identity_provider import (
    CLIENT,
    SECRET,
    IdentityProvider,
    identity_provider,
)
from tests.support.listed import ASSEMBLED, NOW, SUSPECTED, study

SESSION = "ichnode_session"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityProvider]:
    monkeypatch.setenv("ICHNODE_OIDC_SECRET", SECRET)
    with identity_provider() as running:
        yield running


class Site:
    """The page, whose people sign in at a provider."""

    def __init__(self, worklist: Worklist, folder: Path, issuer: str, **more: object) -> None:
        self.now = NOW
        values: dict[str, Any] = {
            "issuer": issuer,
            "client_id": CLIENT,
            "title": "the hospital's account",
            "radiologists": ["ct-readers"],
            "admins": ["pacs-admins"],
        }
        self.settings = Settings(data_dir=folder, web=Web.model_validate({"oidc": values | more}))
        pictures = Pictures(Depot(folder), load_volume, load_volume, 64)
        self.app = app(worklist, self.settings, pictures, lambda: self.now)

    def browser(self) -> TestClient:
        return TestClient(
            self.app,
            base_url="http://localhost",
            client=("192.0.2.7", 50000),
            follow_redirects=False,
        )


@pytest.fixture
def site(worklist: Worklist, tmp_path: Path, provider: IdentityProvider) -> Site:
    study(worklist, 1, ASSEMBLED, SUSPECTED, patient_id="MRN-4711")
    return Site(worklist, tmp_path, provider.url)


def sent_back(browser: TestClient, then: str = "/") -> str:
    """Leave for the provider; return the address that it sends the browser back to."""
    leave = browser.get("/oidc/login", params={"next": then})
    assert leave.status_code == 303
    back = httpx.get(leave.headers["location"])
    assert back.status_code == 302
    return str(back.headers["location"])


def sign_in(browser: TestClient, then: str = "/") -> httpx.Response:
    return browser.get(sent_back(browser, then))  # type: ignore[return-value]


def test_a_person_signs_in_at_the_provider_and_goes_on_where_they_wanted(
    site: Site, worklist: Worklist
) -> None:
    browser = site.browser()
    assert browser.get("/").status_code == 401
    assert "Sign in with the hospital&#39;s account" in browser.get("/login").text
    answer = sign_in(browser, "/studies/1")
    assert answer.status_code == 200 and 'content="0; url=/studies/1"' in answer.text
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert browser.get("/studies/1").status_code == 200
    assert "dr.day</span>" in browser.get("/").text
    (account,) = worklist.accounts.listed()
    assert (account.name, account.role, account.issuer) == (
        "dr.day",
        Role.RADIOLOGIST,
        site.settings.web.oidc.issuer,
    )
    assert account.password_hash is None
    did = [e.what for e in worklist.audit.entries()]
    assert did[:2] == [Deed.ACCOUNT, Deed.SIGNED_IN]


def test_the_role_is_what_the_provider_says_each_time(
    site: Site, provider: IdentityProvider, worklist: Worklist
) -> None:
    for held, role in (
        (["ct-readers", "pacs-admins"], Role.ADMIN),
        ("ct-readers", Role.RADIOLOGIST),
    ):
        provider.claims["roles"] = held
        assert sign_in(site.browser()).status_code == 200
        assert [account.role for account in worklist.accounts.listed()] == [role]


@pytest.mark.parametrize("held", [None, [], ["others"], {"ct-readers": 1}, 7, [["ct-readers"]]])
def test_who_has_no_role_is_not_let_in(
    site: Site, provider: IdentityProvider, worklist: Worklist, held: object
) -> None:
    provider.claims["roles"] = held
    answer = sign_in(site.browser())
    assert answer.status_code == 401 and SESSION not in answer.headers.get("set-cookie", "")
    assert worklist.accounts.listed() == []


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another application"},
        {"aud": None},
        {"azp": "another application"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
    ],
    ids=str,
)
def test_a_token_for_another_place_or_time_is_none(
    site: Site, provider: IdentityProvider, worklist: Worklist, claims: dict[str, Any]
) -> None:
    provider.claims |= claims
    answer = sign_in(site.browser())
    assert answer.status_code == 401 and "identity provider" in answer.text
    assert worklist.accounts.listed() == []
    assert [e.what for e in worklist.audit.entries()] == [Deed.SIGN_IN_FAILED]


@pytest.mark.parametrize("signed_by", ["other", "secret", "nobody"])
def test_a_token_that_the_provider_did_not_sign_is_none(
    site: Site, provider: IdentityProvider, worklist: Worklist, signed_by: str
) -> None:
    provider.signed_by = signed_by
    assert sign_in(site.browser()).status_code == 401
    assert worklist.accounts.listed() == []


def test_a_sign_in_is_of_one_browser_one_time_and_ten_minutes(
    site: Site, worklist: Worklist
) -> None:
    browser, other = site.browser(), site.browser()
    back = sent_back(browser)
    assert "another browser" in other.get(back).text
    sent_back(other)
    assert other.get(back).status_code == 401
    held = dict(browser.cookies)
    assert browser.get(back).status_code == 200
    again = site.browser()
    for name, value in held.items():
        again.cookies.set(name, value)
    assert "too long" in again.get(back).text
    late = site.browser()
    back = sent_back(late)
    site.now += oidc.LASTS + timedelta(seconds=1)
    assert "too long" in late.get(back).text
    assert late.get("/oidc/back?state=&code=x").status_code == 401
    assert Deed.SIGN_IN_FAILED not in {e.what for e in worklist.audit.entries()}


def test_a_disabled_person_is_not_let_in(site: Site, worklist: Worklist) -> None:
    browser = site.browser()
    sign_in(browser)
    worklist.accounts.disable("dr.day", Actor("root", "terminal"), NOW)
    assert browser.get("/").status_code == 401
    answer = sign_in(site.browser())
    assert answer.status_code == 401 and "disabled" in answer.text


def test_nobody_gets_the_account_of_another_by_a_name(
    site: Site, provider: IdentityProvider, worklist: Worklist
) -> None:
    worklist.accounts.add("dr.day", Role.ADMIN, "hash", Actor("root", "terminal"), NOW)
    browser = site.browser()
    assert sign_in(browser).status_code == 200
    assert "dr.day (127.0.0.1:" in browser.get("/").text
    provider.claims |= {"sub": "43"}
    assert sign_in(site.browser()).status_code == 401
    assert [a.role for a in worklist.accounts.listed()] == [Role.ADMIN, Role.RADIOLOGIST]


@pytest.mark.parametrize("name", ["a\u202eb", "x" * 65, "\n"])
def test_a_name_that_does_not_show_is_refused(
    site: Site, provider: IdentityProvider, worklist: Worklist, name: str
) -> None:
    provider.claims["preferred_username"] = name
    assert sign_in(site.browser()).status_code == 401
    assert worklist.accounts.listed() == []


@pytest.mark.parametrize("fault", ["fails", "silent", "named", "secret"])
def test_a_provider_that_cannot_be_asked_is_said_to_be_and_logged(
    site: Site,
    worklist: Worklist,
    provider: IdentityProvider,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if fault == "fails":
        provider.fails = True
    elif fault == "silent":
        site = Site(worklist, tmp_path, "http://127.0.0.1:9/")
    elif fault == "named":
        provider.calls_itself = "https://evil.example"
    else:
        monkeypatch.delenv("ICHNODE_OIDC_SECRET")
    answer = site.browser().get("/oidc/login")
    assert answer.status_code == 503 and "see the node" in answer.text
    assert [record.message[:11] for record in caplog.records] == ["no sign-in:"]
    assert SECRET not in caplog.text


def test_a_role_may_stand_deeper_in_the_token(
    provider: IdentityProvider, worklist: Worklist, tmp_path: Path
) -> None:
    provider.claims["realm_access"] = {"roles": ["pacs-admins"]}
    site = Site(worklist, tmp_path, provider.url, role_claim="realm_access.roles")
    assert sign_in(site.browser()).status_code == 200
    assert [account.role for account in worklist.accounts.listed()] == [Role.ADMIN]


def test_the_node_does_not_start_without_the_clients_secret(
    site: Site, worklist: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_closed(site.settings, worklist)
    monkeypatch.delenv("ICHNODE_OIDC_SECRET")
    with pytest.raises(BadConfiguration, match="ICHNODE_OIDC_SECRET is not set"):
        require_closed(site.settings, worklist)


def test_a_provider_closes_the_page_without_any_account(site: Site, worklist: Worklist) -> None:
    assert worklist.accounts.listed() == []
    assert site.browser().get("/worklist.json").status_code == 401
    web = site.settings.web.model_copy(update={"host": "0.0.0.0", "behind_proxy": ("192.0.2.1",)})
    require_closed(site.settings.model_copy(update={"web": web}), worklist)
