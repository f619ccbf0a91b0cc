"""The OHIF viewer in headless Chromium, on what archives hold that speak DICOMweb.

`make ohif` fetches the viewer as its makers built it, and `.ci/run` calls it. The viewer is
configured as docs/integration.md says.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from tests.conftest import require, require_program
from tests.support import ROOT

DIST = ROOT / "var" / "ohif" / "package" / "dist"
THUMBNAIL = '[data-cy^="study-browser-thumbnail"]'
GRAPHICS = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""
DOCUMENTED = "https://ichnode.example:8042/dicom-web"
MASK = """
() => {
  const state = cornerstoneTools.segmentation.state.getSegmentations();
  const found = [];
  for (const one of state) {
    const labelmap = one.representationData.Labelmap;
    for (const id of labelmap.imageIds ?? []) {
      const image = cornerstone.cache.getImage(id);
      const source = cornerstone.metaData.get("generalImageModule", image.referencedImageId);
      const values = Array.from(image.voxelManager.getScalarData(), value => value ? 1 : 0);
      found.push([source.sopInstanceUID, image.rows, image.columns, values.join("")]);
    }
  }
  return found;
}
"""
"""Returns of each slice of the shown segmentation which image it lies over, and its pixels."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """OHIF in a browser."""

    browser: Any
    url: str

    @contextmanager
    def study(self, url: str) -> Iterator["Study"]:
        """Open a study by its address; yield it once its series are listed."""
        page = self.browser.new_page(viewport={"width": 1400, "height": 900})
        try:
            tour = page.get_by_text("Skip all")
            page.add_locator_handler(tour, lambda: tour.click())
            page.goto(url)
            page.wait_for_selector(THUMBNAIL, timeout=60_000)
            yield Study(page)
        finally:
            page.close()


@dataclass(frozen=True, slots=True)
class Study:
    """A study that is open in the viewer."""

    page: Any

    def shows(self, series_number: int, until: str) -> str:
        """Show a series by its number; return the page's text once it says `until`.

        Fails if the page does not say it: then the viewer shows nothing of the series.
        """
        self.page.locator(f'{THUMBNAIL}[data-series="{series_number}"]').dblclick()
        self.page.get_by_text(until).first.wait_for(timeout=60_000)
        return str(self.page.locator("body").inner_text())

    def coloured(self) -> int:
        """Return how many pixels of the shown image are not grey: those under an overlay."""
        drawn = self.page.locator(".cornerstone-canvas").first.screenshot()
        with Image.open(BytesIO(drawn)) as picture:
            red, _, blue = np.moveaxis(np.asarray(picture.convert("RGB"), int), -1, 0)
        return int((red - blue > 60).sum())


@contextmanager
def viewer(port: int, archives: dict[str, str], proxied: str) -> Iterator[Viewer]:
    """Run OHIF on a port while the block runs.

    Parameters
    ----------
    archives
        Base addresses of DICOMweb by the name of the archive.
    proxied
        The server that answers for what begins with /dicom-web under the viewer's own origin.
    """
    require_program("chromium")
    require(DIST.is_dir(), "the viewer OHIF (`make ohif` fetches it)")
    from playwright.sync_api import sync_playwright

    handler = _handler(_configuration(archives), proxied)
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", *GRAPHICS]
            )
            yield Viewer(browser, f"http://127.0.0.1:{port}")
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


def documented_address() -> str:
    """Return the address of a study in OHIF that our documentation gives for `web.viewers`."""
    text = (ROOT / "docs" / "integration.md").read_text()
    (address,) = re.findall(r'name = "OHIF"\nurl = "(.*)"', text)
    return str(address)


def _configuration(archives: dict[str, str]) -> bytes:
    """Return OHIF's configuration, its data source that of our documentation for each archive."""
    text = (ROOT / "docs" / "integration.md").read_text()
    (source,) = re.findall(r"```js\n// OHIF\n(.*?)```", text, re.DOTALL)
    assert source.count(DOCUMENTED) == 3 and source.count('sourceName: "ichnode"') == 1
    sources = [
        source.replace(DOCUMENTED, url).replace('sourceName: "ichnode"', f'sourceName: "{name}"')
        for name, url in archives.items()
    ]
    return f"""window.config = {{
  routerBasename: "/", extensions: [], modes: [], showStudyList: false, maxNumberOfWebWorkers: 1,
  investigationalUseDialog: {{ option: "never" }}, defaultDataSourceName: "{next(iter(archives))}",
  dataSources: [{"".join(sources)}],
}};""".encode()


def _handler(configuration: bytes, proxied: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """The viewer's files, and an archive under the same origin."""

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/dicom-web"):
                self._answer(*_passed_on(f"{proxied}{self.path}", self.headers))
            elif path.endswith("app-config.js"):
                self._answer(200, "text/javascript", configuration)
            else:
                file = DIST / path.lstrip("/")
                file = file if file.is_file() else DIST / "index.html"
                self._answer(200, _type(file), file.read_bytes())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _type(file: Path) -> str:
    known = {".js": "text/javascript", ".wasm": "application/wasm"}
    return known.get(file.suffix) or guess_type(file.name)[0] or "application/octet-stream"


def _passed_on(url: str, headers: Any) -> tuple[int, str, bytes]:
    passed = {name: headers[name] for name in ("Accept", "Host") if headers[name]}
    try:
        with urlopen(Request(url, headers=passed), timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        return error.code, "text/plain", error.read()
