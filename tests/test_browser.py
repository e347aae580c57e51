"""In a real browser: the start page, a lesson, a lab with a failed and then a passed check.

Screenshots are kept in test-results/ for people to look at.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from workshop.authoring import task_source
from workshop.paths import REPOSITORY
from workshop.topics import topic

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = REPOSITORY / "test-results"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no chromium on this machine (on Debian: apt-get install chromium)"
    ),
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab as make lab starts it, on a copy of the notebooks (the test types into them)."""
    root = tmp_path_factory.mktemp("lab")
    for name in ("START_HERE.ipynb", "modules", "labs"):
        source = REPOSITORY / name
        shutil.copytree(source, root / name) if source.is_dir() else shutil.copy(source, root / name)
    port, token = free_port(), secrets.token_hex(16)
    state = tmp_path_factory.mktemp("state")
    env = os.environ | {
        "HOME": str(state),
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(state / "settings"),
    }
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(state / "workspaces"), "IPYTHONDIR": str(state / "ipython")}
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        f"--IdentityProvider.token={token}",
    ]
    with open(state / "log", "wb") as log:
        server = subprocess.Popen([*command, f"--ServerApp.root_dir={root}"], env=env, stdout=log, stderr=log, cwd=root)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/api?token={token}", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (state / "log").read_text()
                time.sleep(0.1)
        yield f"{url}/lab/tree/PLACE?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(40_000)
    yield page
    page.close()


def shot(page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def visit(page, server: str, place: str) -> None:
    page.goto(server.replace("PLACE", place))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def run_cell(page, index: int) -> None:
    page.locator(".jp-Notebook .jp-Cell").nth(index).click()
    page.keyboard.press("Shift+Enter")


def test_start_page_draws_the_map(page, lab_server: str) -> None:
    visit(page, lab_server, "START_HERE.ipynb")
    run_cell(page, 1)
    page.wait_for_function("document.querySelectorAll('.kestrel .cell').length >= 72")
    assert page.locator("a[href*='labs/']").count() >= 4
    assert page.get_by_text("Jupyter news").count() == 0  # nothing asks the network
    page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
    shot(page, "start_page")


def test_a_lesson_shows_its_saved_outputs(page, lab_server: str) -> None:
    visit(page, lab_server, "modules/03_orchestration/06_idempotent_processing.ipynb")
    assert page.locator(".jp-OutputArea-output").count() >= 5
    shot(page, "lesson")


def test_a_lab_with_a_failed_and_then_a_passed_check(page, lab_server: str) -> None:
    item = topic("3.6")
    place = Path("labs") / item.module / f"{item.folder}.ipynb"
    from grader.bank import answers
    from workshop.authoring import compose, tags

    cells = compose(item, "labs").cells
    at = {t: i for i, c in enumerate(cells) for t in tags(c)}
    visit(page, lab_server, place.as_posix())
    run_cell(page, at["parameters"])
    run_cell(page, at["setup"])
    wrong = next(a for a in answers(item) if a.task == "a" and not a.right)
    for source, outcome in ((wrong.source, "failed"), (task_source(item, "a", solved=True), "passed")):
        cell = page.locator(".jp-Notebook .jp-Cell").nth(at["task-a"])
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)
        page.keyboard.press("Shift+Enter")
        run_cell(page, at["check-a"])
        check = page.locator(".jp-Notebook .jp-Cell").nth(at["check-a"]).locator(".kestrel .check")
        check.filter(has_text=outcome).first.wait_for()
        check.first.scroll_into_view_if_needed()
        shot(page, f"lab_{outcome}")
    assert check.count() == check.filter(has_text="passed").count()
