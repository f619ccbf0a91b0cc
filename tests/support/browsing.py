"""The page in a real browser: a web role that can be killed, and Debian's Chromium."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from node.settings import load
from tests.conftest import require_program
from tests.support.databases import new_database
from tests.support.peers import free_port, listening, wait_until

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()


class WebRole:
    """`ichnode serve --role web` on a data folder; `kill` is `kill -9`."""

    def __init__(self, folder: Path, toml: str = "") -> None:
        self.config = folder / "web.toml"
        self.config.write_text(
            f'data_dir = "{folder / "data"}"\n[web]\nport = {free_port()}\n'
            f'open_feedback_as = "Dr. Night"\n{toml}'
        )
        self.settings = load(self.config)
        self.log = folder / "web.log"
        self._process: subprocess.Popen[bytes] | None = None
        new_database(self.settings.url)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.settings.web.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "node.cli", "serve", "--role", "web"]
            self._process = subprocess.Popen(
                [*command, "--config", str(self.config)], stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(lambda: listening(self.settings.web.port), 60)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """Stop it as systemd would."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium; no browser is ever downloaded."""
    require_program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        try:
            yield browser
        finally:
            browser.close()


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds on the page by the rules of WCAG 2.2 A and AA, serious or worse."""
    page.evaluate(AXE)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate(
        "tags => axe.run(document, { runOnly: { type: 'tag', values: tags } })", tags
    )
    return [
        f"{fault['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
