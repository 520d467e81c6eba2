"""Every download of every page, saved by a real browser and opened as its reader would open it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from looking import browsing, needs_browser, open_all, visit

from app.pages_of import PAGES
from fraudfl.report.sealing import verify_report

RENDERER = shutil.which("pdftoppm")
REPORT = ("report.html", "report.json", "report.pdf")


def save_all(page: Any, folder: Path, but: str = "nothing of this name") -> Iterator[Path]:
    """Click each download of a page, but for those whose label holds some words."""
    for button in page.locator('[data-testid="stDownloadButton"] button').filter(has_not_text=but).all():
        told = begun(page, button)
        path = folder / told.suggested_filename
        assert not path.exists(), f"two downloads of one page are called {path.name}"
        told.save_as(path)
        yield path


def begun(page: Any, button: Any) -> Any:
    """The download that a click begins; a page that is drawn again just then may swallow a click."""
    swallowed = pytest.importorskip("playwright.sync_api").TimeoutError
    for _ in range(2):
        with suppress(swallowed):
            with page.expect_download(timeout=10_000) as told:
                button.click()
            return told.value
    with page.expect_download() as told:
        button.click()
    return told.value


@pytest.fixture(scope="module")
def saved(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Files by page and name; reports are made on their page first."""
    found: dict[str, dict[str, Path]] = {}
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 1200}, accept_downloads=True)
        for one in PAGES:
            visit(page, f"{address}/{one.name}" if one is not PAGES[0] else address, one.title)
            open_all(page)
            folder = tmp_path_factory.mktemp(one.name)
            files = [*save_all(page, folder)]
            if one.name == "reports":
                # Chromium saves ten files of a page and then asks its user: the page is opened anew.
                visit(page, f"{address}/reports", one.title)
                make_reports(page)
                files += save_all(page, folder, but="Version")
            found[one.name] = {path.name: path for path in files}
    return found


def make_reports(page: Any) -> None:
    for done, title in enumerate(("privacy report", "report of results"), start=1):
        page.get_by_role("button", name=f"Make the {title}").click()
        page.get_by_role("button", name="All as ZIP").nth(done - 1).wait_for(timeout=240_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)


def rows(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(path.read_bytes().decode()))]


@needs_browser
def test_every_page_with_tables_gives_them_as_csv_that_parses(saved: dict[str, dict[str, Path]]) -> None:
    tables = {name: [path for path in files.values() if path.suffix == ".csv"] for name, files in saved.items()}
    assert all(tables[name] for name in ("overview", "accuracy", "transfer", "privacy", "banks", "models"))
    for path in (one for found in tables.values() for one in found):
        found = rows(path)
        assert found, path
        assert all(None not in row and None not in row.values() for row in found), path


@needs_browser
def test_figures_in_the_csv_are_those_of_the_summary(
    saved: dict[str, dict[str, Path]], summary: dict[str, Any]
) -> None:
    (phase,) = summary["phases"]
    own = phase["metrics"]["federated"]
    (auprc,) = (
        row
        for row in rows(saved["accuracy"]["pilot-accuracy.csv"])
        if (row["figure"], row["trained"]) == ("AUPRC", "federated")
    )
    assert float(auprc["value"]) == own["auprc"]
    assert [float(auprc["low"]), float(auprc["high"])] == phase["metrics"]["intervals"]["federated"]["auprc"]
    assert rows(saved["overview"]["pilot-figures.csv"]) == rows(saved["accuracy"]["pilot-accuracy.csv"])
    gains = {row["bank"]: row for row in rows(saved["accuracy"]["pilot-gains.csv"])}
    for bank, row in gains.items():
        assert float(row["federated"]) == phase["metrics"]["per_bank"][bank]["federated"]
    banks = rows(saved["transfer"]["pilot-banks-transfer.csv"])
    assert sum(float(row["up, MB"]) for row in banks) * 1e6 == pytest.approx(phase["transfer"]["bytes_up"])
    assert sum(float(row["down, MB"]) for row in banks) * 1e6 == pytest.approx(phase["transfer"]["bytes_down"])
    (phases,) = rows(saved["overview"]["phases.csv"])
    assert (phases["phase"], phases["status"]) == (phase["name"], phase["status"])
    assert (int(phases["banks"]), int(phases["rounds"])) == (phase["banks"], phase["rounds"])
    (model,) = rows(saved["models"]["models.csv"])
    assert int(model["version"]) == phase["model_version"]
    assert float(model["AUPRC"]) == own["auprc"]
    (part,) = rows(saved["banks"]["participation.csv"])
    assert (int(part["asked"]), int(part["took part"])) == (phase["roster"], phase["banks"])


@needs_browser
def test_the_model_card_is_the_bundles(saved: dict[str, dict[str, Path]], ran: Path) -> None:
    card = ran / "coordinator" / "phases" / "pilot" / "bundle" / "MODEL_CARD.md"
    assert saved["models"]["MODEL_CARD-1.md"].read_text() == card.read_text()


@needs_browser
@pytest.mark.parametrize("kind", ["privacy", "results"])
def test_a_report_is_what_its_file_names_say(
    kind: str, saved: dict[str, dict[str, Path]], ran: Path, tmp_path: Path
) -> None:
    files = saved["reports"]
    found = json.loads(files[f"{kind}-report.json"].read_bytes())
    assert found["subject"]["name"] == "small"
    assert files[f"{kind}-report.html"].read_text().lstrip().lower().startswith("<!doctype html>")
    with zipfile.ZipFile(files[f"{kind}-report.zip"]) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {*REPORT} <= {*names}
        assert all(archive.read(name) == files[f"{kind}-{name}"].read_bytes() for name in names)
        archive.extractall(tmp_path)
    signed = (ran / "coordinator" / "pki" / "operator.key").exists()
    assert (len(names) == len(REPORT) + 1) == signed
    if signed:
        verify_report(tmp_path, {})


@needs_browser
@pytest.mark.parametrize("kind", ["privacy", "results"])
def test_each_page_of_the_pdf_has_something_on_it(kind: str, saved: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    if RENDERER is None:
        pytest.skip("there is no pdftoppm here (poppler-utils)")
    pdf = saved["reports"][f"{kind}-report.pdf"]
    subprocess.run([RENDERER, "-r", "40", "-gray", str(pdf), str(tmp_path / "page")], check=True, timeout=60)
    pages = sorted(tmp_path.glob("page-*.pgm"))
    told = subprocess.run(["pdfinfo", str(pdf)], capture_output=True, text=True, check=True).stdout
    assert f"Pages: {len(pages)}" in " ".join(told.split())
    assert pages
    for page in pages:
        inked = sum(sample < 128 for sample in samples(page))
        assert inked > 100, f"{page.name} is blank"


def samples(picture: Path) -> bytes:
    """Grey samples of a binary PGM picture, after its three lines of heading."""
    return picture.read_bytes().split(b"\n", 3)[3]
