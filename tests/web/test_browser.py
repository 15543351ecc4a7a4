"""The page in Chromium: drawn, compared, stopped, refused, by keyboard, wide and narrow, light and dark, offline.

Debian's Chromium is driven by Playwright; where there is none the tests are skipped. With ``EXPLORE_SCREENSHOTS`` set
to a folder, what is looked at is kept there: ``make pictures`` makes those of the guide.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.web import digits

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium: apt-get install chromium"),
]

Open = Callable[..., Any]


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address of a page, served by the command."""
    command = [sys.executable, "-m", "elucidiff", "explore", "--port", "0", "--quiet", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.stderr.read()
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        yield driver.chromium


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens an address in a browser of its own; at the end, no other host was asked, and no script has failed."""
    contexts: list[Any] = []
    asked: list[str] = []
    failures: list[str] = []

    def open_(address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Any:
        context = chromium.launch_persistent_context(
            str(tmp_path / f"browser-{len(contexts)}"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.pages[0]
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#draw")
        return page

    yield open_
    for context in contexts:
        context.close()
    hosts = {url.split("/")[2].split(":")[0] for url in asked if url.startswith(("http", "ws"))}
    assert hosts <= {"127.0.0.1"}
    assert failures == []


def keep(page: Any, name: str, *, whole: bool = True) -> None:
    """A screenshot, if they are wanted."""
    if folder := os.environ.get("EXPLORE_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"explore-{name}.png"), full_page=whole)


def field(page: Any, name: str) -> Any:
    """Where a setting is written: ``A-solver-0``."""
    return page.locator(f"#{name} textarea, #{name} input")


def steps(page: Any) -> Any:
    """Where the number of steps of A is written."""
    return field(page, "A-steps-0")


def draw(page: Any) -> None:
    page.click("#draw")
    page.wait_for_selector(".said-done")


def pictures(page: Any, side: str = "A") -> list[str]:
    found: list[str] = page.locator(f".side-{side} .grid img").evaluate_all("all => all.map(each => each.src)")
    return found


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return found


def test_it_draws_while_one_looks_and_the_download_holds_what_is_shown(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Seeds").fill("0-31")
    steps(page).fill("300")
    begun = time.monotonic()
    page.click("#draw")
    page.wait_for_selector(".side-A .grid img")
    print(f"first preview after {time.monotonic() - begun:.2f} s")
    assert page.locator(".side-A [data-pick]").count() == 0  # under way
    early = pictures(page)
    page.wait_for_function("before => document.querySelector('.side-A .grid img').src !== before", arg=early[0])
    page.wait_for_selector(".said-done")
    assert page.locator(".side-A .facts").inner_text().split()[:4] == ["300", "steps", "NFE", "599"]

    with page.expect_download() as downloading:
        page.get_by_text("Images (.zip)").click()
    with zipfile.ZipFile(downloading.value.path()) as archive:
        first = np.asarray(Image.open(io.BytesIO(archive.read("00000000.png"))))
    x = ed.Sampler(n=300).run(digits.exact(), range(32)).x
    assert np.array_equal(first, ed.sampling.to_uint8(x)[0, 0].numpy())
    with page.expect_download() as downloading:
        page.get_by_text("Settings and numbers (.json)").click()
    told = json.loads(Path(downloading.value.path()).read_text())
    assert told["settings"]["A"]["seeds"] == list(range(32))


def test_two_settings_are_compared_on_the_same_seeds(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Compare A with B").check()
    draw(page)
    assert len(pictures(page, "A")) == len(pictures(page, "B")) == 16
    assert page.locator(".side-B header code").inner_text() == "euler karras"
    assert "NFE 18" in page.locator(".side-B .facts").inner_text()
    assert page.get_by_text("RMS from the exact solution").count() == 2
    page.locator('.side-A [data-pick="5"]').click()
    page.get_by_role("heading", name="From noise to seed 5").wait_for()
    assert page.locator(".strip img").count() == 2 * 2 * 10
    assert page.locator(".plots svg").count() == 2
    assert overflow(page) == 0
    keep(page, "compared")


def test_a_preset_and_a_part_fill_in_their_fields(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Begin with").first.click()
    page.get_by_role("option", name="VP (Table 1)").click()
    page.wait_for_function("document.querySelector('#A-steps-3').innerText.includes('epsilon s')")
    field(page, "A-solver").click()
    page.get_by_role("option", name="ipndm").click()
    order = field(page, "A-solver-0")
    order.wait_for()
    assert order.input_value() == "4"
    order.fill("2")
    draw(page)
    command = page.locator(".recipes pre").first.inner_text()
    assert "--steps vp" in command
    assert "--schedule vp_fitted" in command
    assert "--solver ipndm:order=2" in command


def test_mistakes_are_told_beside_their_fields_and_nothing_is_drawn(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Seeds").fill("0-99")
    field(page, "A-steps-3").fill("x")
    page.click("#draw")
    page.get_by_text("rho is 'x', but must be a number").first.wait_for()
    page.get_by_text("100 samples are too many at once: ask for at most 64").first.wait_for()
    page.get_by_text("Nothing was drawn.").wait_for()
    assert pictures(page) == []
    keep(page, "mistakes", whole=False)
    page.get_by_label("Seeds").fill("0-3")
    field(page, "A-steps-3").fill("7")
    draw(page)
    assert len(pictures(page)) == 4


def test_a_run_is_stopped(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Seeds").fill("0-31")
    steps(page).fill("500")
    page.click("#draw")
    page.wait_for_selector(".side-A .grid img")
    page.click("#stop")
    page.get_by_text("Stopped.").wait_for()
    steps(page).fill("6")
    draw(page)
    assert len(pictures(page)) == 32


def test_it_is_all_within_reach_of_the_keyboard(open_page: Open, address: str) -> None:
    page = open_page(address)
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label') || ''")
        )
        if reached[-1] == "draw":
            break
    assert "draw" in reached
    page.keyboard.press("Enter")
    page.wait_for_selector(".said-done")
    page.locator('[data-pick="0"]').focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="From noise to seed 2").wait_for()
    unnamed = page.evaluate(
        "[...document.querySelectorAll('img')].filter(each => !each.alt && each.offsetParent !== null).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (400, False), (400, True)])
def test_it_fits_and_can_be_read(open_page: Open, address: str, width: int, dark: bool) -> None:
    page = open_page(address, width=width, dark=dark)
    page.get_by_label("Compare A with B").check()
    draw(page)
    assert overflow(page) <= 0
    lightness, ground = (
        sum(map(float, re.findall(r"[\d.]+", page.evaluate(f"getComputedStyle({where}).{what}"))[:3])) / 765
        for where, what in (
            ("document.querySelector('.facts')", "color"),
            ("document.body", "backgroundColor"),
        )
    )
    assert (ground < 0.2, lightness > 0.6) == (dark, dark)
    keep(page, f"{'dark' if dark else 'light'}-{width}")


def test_two_browsers_do_not_disturb_each_other(open_page: Open, address: str) -> None:
    long, short = open_page(address), open_page(address)
    long.get_by_label("Seeds").fill("0-31")
    steps(long).fill("500")
    long.click("#draw")
    short.get_by_label("Seeds").fill("40-42")
    draw(short)
    assert len(pictures(short)) == 3
    long.wait_for_selector(".said-done")
    assert len(pictures(long)) == 32
    short.close()


def test_a_picture_is_varied_and_painted_anew(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.get_by_label("Seeds").fill("0-7")
    draw(page)
    page.get_by_role("tab", name="From a picture").click()
    page.get_by_role("button", name="Take the first sample").click()
    canvas = page.locator("canvas").first
    canvas.wait_for()
    time.sleep(2)  # the editor fades in
    page.click("#draw-picture")
    page.locator("text=--init init.png").wait_for()
    page.get_by_label("paint anew what is brushed").check()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y + 60)
    page.mouse.down()
    for step in range(12):
        page.mouse.move(x - 60 + 10 * step, y + 60 + (step % 2) * 40)
    page.mouse.up()
    page.click("#draw-picture")
    page.locator("text=--mask mask.png").wait_for()
    keep(page, "picture")


def test_a_training_shows_its_loss_and_previews(open_page: Open, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    ed.Denoiser(network, ed.preconditioning.EDM()).save(tmp_path / "run" / "model")
    lines = [{"images": 512 * k, "seconds": k, "loss": 1 / k} for k in range(1, 20)]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "run" / "samples").mkdir()
    for images in (512, 4096):
        Image.fromarray(np.full((16, 16), images % 251, dtype=np.uint8)).save(
            tmp_path / "run" / "samples" / f"{images:09d}.png"
        )
    with served(str(tmp_path / "run")) as address:
        page = open_page(address)
        page.get_by_role("tab", name="Training").click()
        page.get_by_text("after 4,096 images").wait_for()
        assert page.locator(".training .sheets img").count() == 2
        assert page.locator(".training svg").count() == 1
        page.get_by_role("tab", name="Sample").first.click()
        steps(page).fill("4")
        draw(page)
        assert f"elucidiff sample {tmp_path}/run/model" in page.locator(".recipes pre").first.inner_text()


def test_elsewhere_a_token_opens_the_page_and_nothing_else_does(open_page: Open) -> None:
    import urllib.error
    import urllib.request

    with served("--host", "0.0.0.0", "--token", "a-token-of-ours") as address:
        port = int(re.findall(r":(\d+)/", address)[0])
        assert address.endswith("/?token=a-token-of-ours")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
        assert error.value.code == 401
        page = open_page(f"http://127.0.0.1:{port}/?token=a-token-of-ours")
        assert "token" not in page.url
        page.get_by_label("Seeds").fill("0")
        draw(page)
