"""How tests look at the dashboard: one page by itself, or all of it in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.place import WORKSPACE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Streamlit asks for these below the page's own path first, to find out where it is mounted.
PROBES = ("/_stcore/health", "/_stcore/host-config")
SEVERE = ("serious", "critical")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


def opened(name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any] | None = None) -> AppTest:
    """One page of a workspace, after it was drawn.

    Args:
        user: What the login says of the reader, where there is one.
    """
    monkeypatch.setenv(WORKSPACE, str(workspace))

    def script(name: str) -> None:
        from app.pages_of import PAGES

        next(page for page in PAGES if page.name == name).show()

    page = AppTest.from_function(script, kwargs={"name": name}, default_timeout=120)
    page.user = user or {}
    return page.run()


def words(page: AppTest) -> str:
    """All that a page says in words."""
    parts = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.code, *page.title]
    return "\n".join(str(part.value) for part in parts)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def workspace_of(config: str, folder: Path) -> Path:
    """The workspace that `fraudfl run` leaves in a folder."""
    (folder / "small.yaml").write_text(config)
    command = [sys.executable, "-m", "server.cli", "run", "small.yaml", "--workspace", "work", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder / "work"


@contextmanager
def served(*options: str, port: int = 0) -> Iterator[str]:
    """Where a really started `fraudfl dashboard` answers, while it is needed.

    Args:
        port: 0 for any.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "server.cli", "dashboard", *options, "--port", str(port)]
    where = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(f"{where}/_stcore/health", process)
            yield where
        finally:
            # Not SIGINT: a process that was begun in the background may have been told to ignore it.
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert process.poll() is None, process.communicate()[0]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


@contextmanager
def browsing() -> Iterator[Any]:
    """A real Chromium."""
    api = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=options)
        try:
            yield browser
        finally:
            browser.close()


def visit(page: Any, url: str, title: str) -> None:
    """Open an address, and wait until its page is drawn.

    Args:
        page: Of Playwright.
        title: The heading of the page.
    """
    page.goto(url)
    page.get_by_role("heading", name=title, exact=True).first.wait_for(timeout=60_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)


def open_all(page: Any) -> None:
    """Open every expander of a page, and wait until what is in them is drawn."""
    for box in page.locator('[data-testid="stExpander"] details').all():
        # A page that is drawn again just then may close one again.
        while box.get_attribute("open") is None:
            box.locator("summary").click()
            page.wait_for_timeout(50)
    page.wait_for_function("() => !document.querySelector('[data-testid=\"stSkeleton\"]')")


def severe_findings(page: Any, name: str) -> list[str]:
    """What axe finds serious or critical on an open page, each with its rule and its place.

    Args:
        page: Of Playwright.
        name: Of the page, for the words.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response
    assert found["testEngine"]["name"] == "axe-core"
    return [
        f"{name}: {one['id']} ({one['impact']}) at {node['target']}: {node['html'][:120]}"
        for one in found["violations"]
        if one["impact"] in SEVERE
        for node in one["nodes"]
    ]


def complaints(page: Any, address: str) -> list[str]:
    """What goes wrong in a page from now on: errors, warnings of the console, and questions to anybody else."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}") if is_wrong(said) else None)
    page.on("request", lambda one: wrong.append(one.url) if is_foreign(one.url, address) else None)
    return wrong


def is_wrong(said: Any) -> bool:
    return said.type in ("error", "warning") and not said.location.get("url", "").endswith(PROBES)


def is_foreign(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
