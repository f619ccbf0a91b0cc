"""Makes the pictures of the page for the readme, of phantoms: `make pictures`.

The studies pass through the node's own stages. Only the reading is not the networks': the truth of
each phantom is taken for it, so that the pictures need no minutes of computing.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from playwright.sync_api import Page

from models.findings import SUBTYPES, Findings, SliceFinding
from models.volume import Volume
from node.worklist import Opinion
from tests.archive_pictures import archive_pictures
from tests.support import ROOT
from tests.support.browsing import WebRole, chromium
from tests.support.working import Clock, Predictor, receive_files, work, working_node
from training.datasets.series import Identity, write_series
from training.phantoms import Phantom, phantom, random_subtypes

DOCS = ROOT / "docs"
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
DESTINATIONS = "".join(
    f'[[deliver.destinations]]\nname = "{name}"\nae_title = "{name}"\n'
    'host = "127.0.0.1"\nport = 1\n'
    for name in ("PACS", "ARCHIVE")
)
DESCRIPTIONS = ("CT HEAD W/O CONTRAST", "CT SCHAEDEL NATIV", "CT KRANIUM UTAN KONTRAST")


@dataclass
class Truth(Predictor):
    """Reads what is known of each phantom."""

    known: Mapping[str, Phantom]

    def __post_init__(self) -> None:
        super().__init__()
        self.name = "phantom-truth"

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        drawn = self.known[_mark(volume)]
        mask, sizes = drawn.lesions > 0, drawn.volumes_ml
        area = mask.sum((1, 2))
        return replace(
            super().state_findings(volume),
            probability=0.93 if mask.any() else 0.12,
            suspected=bool(mask.any()),
            volume_ml=float((area * volume.voxel_ml).sum()),
            subtypes={name: 0.9 if name in sizes else 0.04 for name in SUBTYPES},
            slices=tuple(SliceFinding(0.9 if count else 0.08) for count in area),
            key_slice=int(area.argmax()) if mask.any() else None,
            mask=mask,
            bundle="truth of the phantom",
        )


def _mark(volume: Volume) -> str:
    """Return what tells this head from the others."""
    middle = volume.hu[len(volume.hu) // 2]
    return sha256(np.rint(middle).astype(np.int16).tobytes()).hexdigest()


@contextmanager
def room(folder: Path) -> Iterator[str]:
    """Serve the page of a node that has read phantoms over the last days; yield its address."""
    drawn = {
        number: phantom(number, subtypes=random_subtypes(np.random.default_rng(number)))
        for number in range(14)
    }
    known = {_mark(one.volume): one for one in drawn.values()}
    web, clock = WebRole(folder, DESTINATIONS), Clock()
    shutil.rmtree(folder / "data")
    with working_node(web.settings, clock, Truth(known)) as node:
        start = datetime.now(UTC) - timedelta(hours=6)
        for number, one in drawn.items():
            clock.now = start + timedelta(minutes=25 * number)
            seed = Identity.of(f"phantom {number}")
            identity = replace(
                seed,
                patient_name=f"PHANTOM^{number}",
                acquired=clock.now - timedelta(minutes=4),
                study_description=DESCRIPTIONS[number % len(DESCRIPTIONS)],
                series_description="AXIAL HEAD" + (" +C" if number == 5 else ""),
            )
            files = write_series(one.volume, folder / "sent" / str(number), identity)
            receive_files([path.read_bytes() for path in files], node)
            work(node, clock)
            for owed in iter(lambda: node.worklist.outbox.claim("p", 60, clock.now, 1), []):
                node.worklist.outbox.delivered(owed[0], "p", 0, clock.now)
            if number % 4 == 0:
                node.worklist.feedback.give(
                    identity.study_instance_uid, "Dr. Night", Opinion(True), clock.now
                )
        web.start()
        try:
            yield web.url
        finally:
            web.stop()


def shot(page: Page, name: str) -> None:
    page.wait_for_timeout(2_000)  # pictures come one by one
    page.screenshot(path=DOCS / f"{name}.png")


def main() -> None:
    """Write docs/*.png."""
    with TemporaryDirectory() as folder, room(Path(folder)) as url, chromium() as browser:
        for name, path, size, theme in (
            ("worklist", "/", DESK, "dark"),
            ("worklist-light", "/", DESK, "light"),
            ("phone", "/", PHONE, "dark"),
            ("study", "", DESK, "dark"),
            ("admin", "/admin", DESK, "dark"),
        ):
            context = browser.new_context(viewport=size)  # type: ignore[arg-type]
            context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
            page = context.new_page()
            page.goto(url + path)
            if name == "study":
                page.locator("tbody tr.SUSPECTED .open").first.click()
                page.wait_for_selector("#stage[data-shown]")
            shot(page, name)
            context.close()
        archive_pictures(Path(folder), browser)


if __name__ == "__main__":
    main()
