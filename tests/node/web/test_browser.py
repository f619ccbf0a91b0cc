"""The page in Chromium: what a radiologist sees and does, and what happens meanwhile."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from node.states import State
from tests.support.browsing import WebRole, chromium, serious_faults
from tests.support.builder import HEAD
from tests.support.listed import ASSEMBLED, NEGATIVE, SUSPECTED, report, study
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node

pytestmark = [pytest.mark.peer, pytest.mark.sqlite, pytest.mark.timeout(240)]
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


class Room:
    """A node whose web role runs in a process of its own, and readers in front of it."""

    def __init__(self, node: WatchedNode, clock: Clock, web: WebRole, browser: Browser) -> None:
        self.node, self.clock, self.web, self.browser = node, clock, web, browser
        self.number = 100

    def arrive(self) -> int:
        """File and read a study with images; return its case."""
        self.number += 1
        name = f"S{self.number}"
        receive(self.node, scan=HEAD(name=name, study=name, patient=name))
        work(self.node, self.clock)
        rows = self.node.worklist.views.worklist(datetime.now(UTC))
        return next(row.case_id for row in rows if row.patient_id == name)

    def list_one(self, *, suspected: bool, description: str = "CT HEAD") -> str:
        """List a study without images; return its PatientID."""
        self.number += 1
        study(
            self.node.worklist,
            self.number,
            *(ASSEMBLED, SUSPECTED if suspected else NEGATIVE, report()),
            patient_id=f"L{self.number}",
            description=description,
            then=datetime.now(UTC) - timedelta(minutes=2),
        )
        return f"L{self.number}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def room(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("room")
    web, clock = WebRole(folder), Clock()
    clock.now = datetime.now(UTC) - timedelta(minutes=10)
    (folder / "data" / "ichnode.sqlite").unlink()
    (folder / "data").rmdir()
    with working_node(web.settings, clock, Predictor()) as node:
        web.start()
        try:
            yield Room(node, clock, web, browser)
        finally:
            web.stop()


@pytest.fixture
def reader(room: Room) -> Iterator[Page]:
    with_faults: list[str] = []
    context = room.browser.new_context(viewport=DESK)
    page = opened(context, room, with_faults)
    yield page
    context.close()
    assert with_faults == []


def opened(context: BrowserContext, room: Room, faults: list[str]) -> Page:
    """Open the list; what scripts and the content policy complain of is collected."""
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda said: faults.append(said.text) if "Content Security" in said.text else None,
    )
    page.goto(room.web.url)
    return page


def loaded(picture: Locator) -> bytes:
    """Return the file of a picture; its row may be drawn anew meanwhile."""
    return picture.page.request.get(picture.evaluate("shown => shown.currentSrc")).body()


def patients(page: Page) -> list[str]:
    return page.locator("tbody tr .open").all_inner_texts()


def test_a_study_appears_without_reload_and_on_top_when_suspected(room: Room, reader: Page) -> None:
    expect(reader.locator("#empty")).to_be_visible()
    negative = room.list_one(suspected=False)
    expect(reader.locator("tbody tr")).to_have_count(1)
    suspected = room.list_one(suspected=True)
    expect(reader.locator("tbody tr")).to_have_count(2)
    assert patients(reader) == [suspected, negative]
    expect(reader.locator("#say")).to_contain_text("New: suspected")
    assert reader.title().startswith("(1) ")
    expect(reader.locator("#fresh")).to_contain_text("updated")


def test_a_study_on_the_page_that_turns_suspected_is_announced(room: Room, reader: Page) -> None:
    then = datetime.now(UTC) - timedelta(minutes=2)
    study(room.node.worklist, 1, ASSEMBLED, patient_id="waits", then=then)
    expect(reader.locator("tbody tr.PENDING")).to_have_count(1)
    cases, states = room.node.worklist.cases, (State.ASSEMBLED,)
    case = cases.claim(states, "w", 60, datetime.now(UTC), study_uid="1.7.1")
    assert case is not None
    cases.finish(case, "w", SUSPECTED, datetime.now(UTC))
    expect(reader.locator("#say")).to_contain_text("Now: suspected")


def test_nothing_moves_under_the_pointer(room: Room, reader: Page) -> None:
    first = room.list_one(suspected=False)
    expect(reader.locator("tbody tr")).to_have_count(1)
    reader.locator("tbody tr").hover()
    second = room.list_one(suspected=True)
    expect(reader.locator("#new")).to_have_text("1 new, 1 to look at: show (.)")
    assert patients(reader) == [first]
    reader.mouse.move(5, 5)
    expect(reader.locator("tbody tr")).to_have_count(2)
    assert patients(reader) == [second, first]
    expect(reader.locator("#new")).to_be_hidden()


def test_nothing_moves_under_the_row_in_focus_until_it_is_asked_for(
    room: Room, reader: Page
) -> None:
    first = room.list_one(suspected=False)
    expect(reader.locator("tbody tr")).to_have_count(1)
    reader.keyboard.press("j")
    second = room.list_one(suspected=True)
    expect(reader.locator("#new")).to_be_visible()
    assert patients(reader) == [first]
    reader.keyboard.press(".")
    assert patients(reader) == [second, first]
    focused = reader.evaluate("document.activeElement.textContent")
    assert focused == first


def test_overlay_toggles_slices_scroll_and_windows_change(room: Room, reader: Page) -> None:
    case = room.arrive()
    expect(reader.locator("tbody tr.SUSPECTED")).to_have_count(1)
    picture = reader.locator(".picture img")
    expect(picture).to_have_js_property("naturalWidth", 144)
    outlined = loaded(picture)
    reader.keyboard.press("o")
    expect(picture).to_have_attribute("src", re.compile("plain"))
    expect(reader.locator("#say")).to_contain_text("Outlines are off")
    expect(picture).to_have_js_property("complete", True)
    assert loaded(picture) != outlined
    reader.keyboard.press("o")
    expect(picture).not_to_have_attribute("src", re.compile("plain"))
    reader.keyboard.press("j")
    reader.keyboard.press("Enter")
    expect(reader).to_have_url(f"{room.web.url}/studies/{case}")
    stage, mask, slice_ = (reader.locator(name) for name in ("#stage", "#mask", "#slice"))
    key = int(stage.get_attribute("data-key") or 0)
    expect(stage).to_have_attribute("data-shown", str(key))
    expect(mask).to_be_visible()
    reader.keyboard.press("o")
    expect(mask).to_be_hidden()
    reader.keyboard.press("o")
    expect(mask).to_be_visible()
    for press, at in (("j", key + 1), ("j", key + 2), ("k", key + 1), ("ArrowUp", key)):
        reader.keyboard.press(press)
        expect(stage).to_have_attribute("data-shown", str(at))
    stage.hover()
    reader.mouse.wheel(0, 100)
    expect(stage).to_have_attribute("data-shown", str(key + 1))
    expect(slice_).to_have_js_property("complete", True)
    reader.keyboard.press("4")
    expect(reader.locator("#window")).to_have_text("W 3000 L 500")
    expect(slice_).to_have_attribute("src", re.compile("level=500&width=3000"))
    box = stage.bounding_box()
    assert box
    reader.mouse.move(box["x"] + 200, box["y"] + 200)
    reader.mouse.down()
    reader.mouse.move(box["x"] + 260, box["y"] + 200, steps=4)
    reader.mouse.up()
    expect(slice_).to_have_attribute("src", re.compile(r"width=3[1-9]\d\d"))
    expect(reader.locator(".side.left")).to_have_text("R")
    reader.keyboard.press("h")
    expect(stage).to_have_attribute("data-shown", str(key))
    reader.keyboard.press("+")
    expect(stage).to_have_attribute("data-zoom", "1.25")
    wide = slice_.bounding_box()
    assert wide and wide["width"] == pytest.approx(1.25 * box["width"], rel=0.01)
    reader.keyboard.down("Shift")
    reader.mouse.move(box["x"] + 200, box["y"] + 200)
    reader.mouse.down()
    reader.mouse.move(box["x"] + 220, box["y"] + 200, steps=2)
    reader.mouse.up()
    reader.keyboard.up("Shift")
    moved = slice_.bounding_box()
    assert moved and moved["x"] == pytest.approx(wide["x"] + 20, abs=1)
    reader.keyboard.press("0")
    expect(stage).to_have_attribute("data-zoom", "1.00")


def test_two_scans_stand_side_by_side_and_scroll_by_height(room: Room, reader: Page) -> None:
    early = HEAD(name="early", study="twice", patient="twice").having(
        AcquisitionDate="20260115", AcquisitionTime="080000"
    )
    late = HEAD(name="late", study="twice", patient="twice", start_mm=-63.0).having(
        AcquisitionDate="20260115", AcquisitionTime="093000"
    )
    for scan in (early, late):
        receive(room.node, scan=scan)
    work(room.node, room.clock)
    reader.goto(f"{room.web.url}/studies/1")
    reader.get_by_role("link", name="beside").click()
    stage, beside = reader.locator("#stage"), reader.locator("#beside")
    expect(stage).to_have_attribute("data-shown", re.compile(r"\d"))
    at = int(stage.get_attribute("data-shown") or 0)
    early_first = stage.get_attribute("data-heights", timeout=1000).startswith("[-72")  # type: ignore[union-attr]
    nearest = at - 2 if early_first else at + 2  # 9 mm of 5 mm slices: two are the nearest
    expect(beside).to_have_attribute("data-shown", str(nearest))
    reader.keyboard.press("j")
    expect(beside).to_have_attribute("data-shown", str(nearest + 1))
    expect(beside.locator(".mask")).to_be_visible()
    reader.keyboard.press("o")
    expect(beside.locator(".mask")).to_be_hidden()
    reader.keyboard.press("+")
    boxes = [one.locator("img.slice").bounding_box() for one in (stage, beside)]
    assert boxes[0] and boxes[1] and boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=2)
    reader.get_by_role("link", name="one alone").click()
    expect(reader.locator("#beside")).to_have_count(0)


def test_acknowledge_disagree_and_undo_by_keyboard_and_a_second_browser_sees_it(
    room: Room, reader: Page
) -> None:
    patient = room.list_one(suspected=True)
    second = opened(room.browser.new_context(viewport=DESK), room, [])
    for page in (reader, second):
        expect(page.locator("tbody tr")).to_have_count(1)
    seen = second.locator("tbody .seenby")
    reader.keyboard.press("j")
    reader.keyboard.press("a")
    expect(seen).to_contain_text("Dr. Night")
    expect(seen).to_contain_text("has seen it")
    reader.keyboard.press("n")
    dialog = reader.locator("#disagree")
    expect(dialog).to_be_visible()
    expect(reader.get_by_label("False alarm")).to_be_checked()
    reader.get_by_label("Place").fill("left frontal")
    reader.get_by_label("Reason").fill("<b>a vessel</b>")
    reader.keyboard.press("Tab")
    reader.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(seen).to_contain_text("disagrees")
    second.locator(".open").click()
    said = second.locator("#said li").last
    expect(said).to_contain_text("disagrees: false alarm, left frontal: “<b>a vessel</b>”")
    assert second.locator("#said b", has_text="vessel").count() == 0
    reader.keyboard.press("u")
    expect(said).to_contain_text("undone by Dr. Night")
    expect(reader.locator("tbody .seenby")).to_contain_text("has seen it")
    assert patients(reader) == [patient]
    uid = room.node.worklist.views.worklist(datetime.now(UTC))[0].study_instance_uid
    assert len(room.node.worklist.feedback.of_study(uid)) == 2
    second.context.close()


def test_a_killed_server_shows_stale_and_the_page_recovers_by_itself(
    room: Room, reader: Page
) -> None:
    room.list_one(suspected=False)
    expect(reader.locator("tbody tr")).to_have_count(1)
    room.web.kill()
    expect(reader.locator("#fresh")).to_contain_text("STALE", timeout=20_000)
    expect(reader.locator("#stale")).to_contain_text("Do not rely on it")
    assert reader.title().startswith("STALE")
    room.list_one(suspected=True)
    room.web.start()
    expect(reader.locator("#stale")).to_be_hidden(timeout=20_000)
    expect(reader.locator("tbody tr")).to_have_count(2, timeout=20_000)
    reader.keyboard.press("j")
    reader.keyboard.press("a")  # its token outlives the server
    expect(reader.locator("tbody .seenby").first).to_contain_text("Dr. Night")


def test_filter_and_search_put_nothing_of_a_patient_into_an_address(
    room: Room, reader: Page
) -> None:
    asked: list[str] = []
    first, _ = room.list_one(suspected=True), room.list_one(suspected=False)
    expect(reader.locator("tbody tr")).to_have_count(2)
    reader.on("request", lambda request: asked.append(request.url))
    reader.keyboard.press("/")
    reader.keyboard.type(first)
    expect(reader.locator("tbody tr")).to_have_count(1)
    reader.locator("#text").fill("")
    expect(reader.locator("tbody tr")).to_have_count(2)
    reader.locator("#kind").select_option("NOT_SUSPECTED")
    expect(reader.locator("tbody tr")).to_have_count(1)
    expect(reader.locator(".hides")).to_contain_text("1 must be looked at")
    assert asked and not any(first in url for url in asked)


def test_ten_rows_fit_and_nothing_scrolls_sideways(room: Room) -> None:
    for number in range(14):
        words = "CT HEAD TRAUMA WITH A VERY LONG DESCRIPTION_WITHOUT_ANY_SPACE_IN_IT" * 2
        room.list_one(suspected=number % 2 == 0, description=words)
    room.arrive()
    for size in (DESK, PHONE, {"width": 1024, "height": 768}, {"width": 320, "height": 640}):
        context = room.browser.new_context(viewport=size)  # type: ignore[arg-type]
        page = opened(context, room, [])
        expect(page.locator("tbody tr")).to_have_count(15)
        fit = "[...document.querySelectorAll('tbody tr')]"
        inside = page.evaluate(
            f"{fit}.filter(r => r.getBoundingClientRect().bottom <= innerHeight).length"
        )
        assert size is not DESK or inside >= 10
        for path in ("/", "/studies/15"):
            page.goto(room.web.url + path)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wide) == 0, (path, size)
        context.close()


def test_axe_finds_nothing_serious(room: Room) -> None:
    room.list_one(suspected=False)
    case = room.arrive()
    receive(room.node, scan=HEAD(name="prior", study="prior", patient="S102"), only=slice(0, 2))
    for theme in ("dark", "light"):
        for size in (DESK, PHONE):
            context = room.browser.new_context(viewport=size)  # type: ignore[arg-type]
            context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
            page = opened(context, room, [])
            expect(page.locator("tbody tr").first).to_be_visible()
            assert serious_faults(page) == [], (theme, size)
            page.keyboard.press("?")
            expect(page.locator("#help")).to_be_visible()
            assert serious_faults(page) == [], (theme, size, "help")
            page.goto(f"{room.web.url}/studies/{case}")
            expect(page.locator("#stage")).to_have_attribute("data-shown", re.compile("."))
            assert serious_faults(page) == [], (theme, size, "study")
            page.keyboard.press("n")
            expect(page.locator("#disagree")).to_be_visible()
            assert serious_faults(page) == [], (theme, size, "disagree")
            context.close()


def test_axe_would_find_what_is_wrong(reader: Page) -> None:
    reader.evaluate("document.querySelector('.research').style.color = '#3a3420'")
    assert [fault.split(":")[0] for fault in serious_faults(reader)] == ["color-contrast"]


def test_the_page_is_dark_until_the_reader_wants_it_light_and_stays_so(reader: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = reader.evaluate(ground)
    reader.locator("#theme").click()
    light = reader.evaluate(ground)
    assert [sum(map(int, re.findall(r"\d+", c)[:3])) > 380 for c in (dark, light)] == [False, True]
    reader.reload()
    assert reader.evaluate(ground) == light
    expect(reader.locator("#theme")).to_have_text("Light")
