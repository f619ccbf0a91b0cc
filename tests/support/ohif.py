"""The OHIF viewer in headless Chromium, on what an Orthanc holds.

`make ohif` fetches the viewer as its makers built it; without it the tests are skipped, in CI too.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.conftest import require_program
from tests.support import ROOT
from tests.support.peers import Orthanc

DIST = ROOT / "var" / "ohif" / "package" / "dist"
THUMBNAIL = '[data-cy^="study-browser-thumbnail"]'
CONFIGURATION = b"""window.config = {
  routerBasename: "/", extensions: [], modes: [], showStudyList: false, maxNumberOfWebWorkers: 1,
  investigationalUseDialog: { option: "never" }, defaultDataSourceName: "dicomweb",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "dicomweb",
    configuration: {
      friendlyName: "Orthanc", name: "Orthanc", qidoRoot: "/dicom-web", wadoRoot: "/dicom-web",
      wadoUriRoot: "/dicom-web", imageRendering: "wadors", thumbnailRendering: "wadors",
      enableStudyLazyLoad: true, singlepart: "bulkdata", bulkDataURI: { enabled: true },
      omitQuotationForMultipartRequest: true,
    },
  }],
};"""
GRAPHICS = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """OHIF in a browser."""

    browser: object
    url: str

    def opened(self, study_uid: str, series_number: int, until: str) -> str:
        """Open a study, then a series by its number; return the page's text once it says `until`.

        Fails if the page does not say it: then the viewer shows nothing of the series.
        """
        page = self.browser.new_page(viewport={"width": 1400, "height": 900})
        try:
            page.goto(f"{self.url}/viewer?StudyInstanceUIDs={study_uid}")
            page.wait_for_selector(THUMBNAIL, timeout=60_000)
            page.get_by_text("Skip all").click(timeout=30_000)  # the tour for newcomers
            page.locator(f'{THUMBNAIL}[data-series="{series_number}"]').dblclick()
            page.get_by_text(until).first.wait_for(timeout=30_000)
            return str(page.locator("body").inner_text())
        finally:
            page.close()


@contextmanager
def viewer(pacs: Orthanc) -> Iterator[Viewer]:
    """Run OHIF on a PACS while the block runs."""
    require_program("chromium")
    if not DIST.is_dir():
        pytest.skip("OHIF is not here: `make ohif` fetches it")
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(pacs))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", *GRAPHICS]
            )
            yield Viewer(browser, f"http://127.0.0.1:{server.server_port}")
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


def _handler(pacs: Orthanc) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """The viewer's files, and the PACS under the same origin."""

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/dicom-web"):
                self._answer(*_from_pacs(pacs, self.path, self.headers))
            elif path.endswith("app-config.js"):
                self._answer(200, "text/javascript", CONFIGURATION)
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


def _from_pacs(pacs: Orthanc, path: str, headers: object) -> tuple[int, str, bytes]:
    passed = {name: headers[name] for name in ("Accept", "Host") if headers[name]}
    try:
        with urlopen(Request(f"{pacs.url}{path}", headers=passed), timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        return error.code, "text/plain", error.read()
