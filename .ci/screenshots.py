"""Pictures of each page of the dashboard, light and dark, as PNG files of 1440 pixels' width.

    python .ci/screenshots.py --workspace work/life --out docs/pictures/dashboard

Starts `fraudfl dashboard` and looks at it in Chromium: the whole page, after its charts are drawn. Where a page names
the workspace's folder, the picture says it as it was given here, not as this machine has it. Needs no network.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app.pages_of import PAGES

WIDTH, LEAST, MOST = 1440, 900, 9000
DRAWN = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    const charts = [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')];
    return app?.dataset.testScriptState === 'notRunning' && !document.querySelector('[data-testid="stSkeleton"]')
        && charts.every(one => one.querySelector('canvas, svg')?.getBoundingClientRect().height > 0);
}"""
HEIGHT = "() => Math.max(...['stMain', 'stSidebarContent'].map(name =>"
HEIGHT += ' document.querySelector(`[data-testid="${name}"]`).scrollHeight))'
RENAME = """([from, to]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(from, to);
}"""


@contextmanager
def dashboard(workspace: Path) -> Iterator[str]:
    """Where a dashboard of a workspace answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "server.cli", "dashboard", "--workspace", str(workspace), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"{where}/_stcore/health", process)
            yield where
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("screenshots: `fraudfl dashboard` ended before it answered")


def picture(page: Page, workspace: Path) -> bytes:
    """The whole page that is open, as a PNG file with a palette."""
    page.wait_for_function(DRAWN, timeout=120_000)
    page.set_viewport_size({"width": WIDTH, "height": min(MOST, max(LEAST, page.evaluate(HEIGHT)))})
    page.wait_for_timeout(1000)  # what is laid out anew in the higher window is drawn again
    page.wait_for_function(DRAWN, timeout=120_000)
    page.evaluate(RENAME, [str(workspace.resolve()), str(workspace)])
    whole, file = Image.open(io.BytesIO(page.screenshot())).convert("RGB"), io.BytesIO()
    # This keeps the colours of thin lines, and then those of large areas.
    reduced = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    reduced.save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("screenshots: there is no Chromium here; install it (apt install chromium)")
    if not (options.workspace / "summary.json").exists():
        sys.exit(f"screenshots: {options.workspace} holds no run; make one with `make pictures`")
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, dashboard(options.workspace) as address:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for one in PAGES:
                page = browser.new_page(viewport={"width": WIDTH, "height": LEAST}, color_scheme=scheme)
                page.goto(address if one is PAGES[0] else f"{address}/{one.name}")
                page.get_by_role("heading", name=one.title, exact=True).first.wait_for(timeout=120_000)
                data = picture(page, options.workspace)
                (options.out / f"{one.name}-{scheme}.png").write_bytes(data)
                sys.stdout.write(f"{one.name}-{scheme}.png {len(data) / 1000:.0f} kB\n")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
