"""Opens a notebook in a real JupyterLab and a real Chromium, both on this machine alone, and ends both."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
from needs import require
from playwright.sync_api import expect, sync_playwright

PROJECT = Path(__file__).parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
WINDOW = {"width": 1280, "height": 1000}  # pixels
PATIENCE = 90  # seconds until a server or a cell that has not answered is given up
TRIES = 5
OWN = {  # settings of the server: no token, because nobody else can reach it; no questions to the network
    "ServerApp.ip": "127.0.0.1",
    "IdentityProvider.token": "",
    "ServerApp.open_browser": False,
    "ServerApp.allow_root": True,
    "LabApp.news_url": "",
    "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    "LabApp.extension_manager": "readonly",
}


@contextlib.contextmanager
def browser():
    """A headless Chromium (Playwright's Browser) that may play sound without being clicked at."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    require(found, "chromium is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def jupyterlab(folder, **variables):
    """A JupyterLab that shows `folder`; its address. It keeps its files in there and is ended at the end.

    `variables` are added to its environment.
    """
    port, home = _free_port(), folder / ".jupyter"
    kept = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    kept |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "lab"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "spaces")}
    asks = home / "lab" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    asks.parent.mkdir(parents=True)
    asks.write_text('{"fetchNews": "false"}')  # or a question about news lies over the page
    given = [f"--{name}={value}" for name, value in {**OWN, "ServerApp.root_dir": folder}.items()]
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", *given]
    environment = {**os.environ, **kept, "PYTHONPATH": str(PROJECT), **variables}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, folder / "server.log")
        yield address
    finally:
        server.terminate()  # which ends its kernels
        server.wait(timeout=PATIENCE)


@contextlib.contextmanager
def classic_notebook(folder, python):
    """The Notebook 6 of another interpreter's environment, as `jupyterlab`."""
    port = _free_port()
    given = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--NotebookApp.token="]
    kept = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [python, "-m", "notebook", *given, f"--notebook-dir={folder}"],
            cwd=folder, env={**os.environ, **kept, "PYTHONPATH": str(PROJECT)}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, folder / "server.log")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(address, server, log):
    begin = time.monotonic()
    while server.poll() is None and time.monotonic() < begin + PATIENCE:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api/status", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"The server did not start:\n{log.read_text()[-3000:]}")


def write_notebook(path, *cells):
    """A notebook with these code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


def open_notebook(page, address, name, front="lab/tree"):
    """Show a notebook in a page (Playwright's) and wait until its kernel can be used.

    `front` is "lab/tree" for JupyterLab and "notebooks" for Notebook 7, which the same server has.
    """
    page.goto(f"{address}/{front}/{name}?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=1000 * PATIENCE)
    idle = page.get_by_role("button", name="| Idle") if front == "lab/tree" else page.locator("[data-status=idle]")
    expect(idle.first).to_be_visible(timeout=1000 * PATIENCE)


def run_cell(page, number):
    """Run the code cell of this number, counted from 0, to its end."""
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").nth(number)
    prompt = cell.locator(".jp-InputPrompt").first
    before = prompt.inner_text()
    for _ in range(TRIES):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).not_to_have_text("[*]:", timeout=1000 * PATIENCE)
        if prompt.inner_text() not in (before, "[ ]:"):  # JupyterLab drops what comes while it connects to the kernel
            return
    raise RuntimeError(f"Cell {number} did not run.")


def step_through(page, cells):
    """Run so many cells from the top, text among them, as a person does: Shift and Enter. Returns at once."""
    page.locator(".jp-NotebookPanel .jp-Cell").first.click()
    for _ in range(cells):
        page.keyboard.press("Shift+Enter")
