"""The page of `ask --serve` in a real browser. Only `make test-browser` runs these tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from browser.chromium import look, screenshot
from browser.pages import CONTRASTS, SCHEMES, WIDTHS, press, script, until
from made_predictions import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served_page(tmp_path_factory):
    """Yield a page with invented answers about a video that a browser can play. A process of its own serves it."""
    from made_videos import make_video
    from served_page import served

    video = make_video(tmp_path_factory.mktemp("served") / f"{'long name ' * 9}.mp4", range(0, 12_000, 150), rate=4)
    with served(video) as found:
        yield found


@pytest.fixture
def asked(driver, served_page):
    look(driver, 1400, "light")
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(served_page.url)
    return driver


def type_query(driver, text):
    from selenium.webdriver import Keys

    script(driver, "document.activeElement.blur()")
    press(driver, "/", text, Keys.ENTER)


STATE = "document.getElementById('state').textContent"


def test_serve_answers_query_after_query_by_the_keyboard_and_a_click_plays(asked, served_page):
    assert script(asked, "return document.activeElement.id") == "query"
    type_query(asked, HOSTILE)
    until(asked, f"{STATE}.startsWith('Answered in ')")
    type_query(asked, "a dog")
    until(asked, "document.querySelectorAll('#answers section').length === 2")
    headings = script(asked, "return [...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert headings == ["a dog", HOSTILE]
    assert script(asked, "return document.querySelectorAll('img, #answers script').length") == 0
    until(asked, "video.readyState >= 1")
    script(asked, "document.querySelectorAll('[data-second]')[1].click()")
    until(asked, "video.currentTime >= 12 && video.currentTime < 16")
    assert script(asked, "return [video.videoWidth > 0, video.error]") == [True, None]
    messages = [json.loads(entry["message"])["message"] for entry in asked.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.removeprefix(served_page.url) for url in urls if not url.startswith(("data:", "about:"))} == {
        *("", "video", "ask")
    }
    assert asked.get_log("browser") == []


def test_serve_moves_along_the_curve_by_clicks_and_by_arrow_keys(asked):
    from selenium.webdriver import ActionChains, Keys

    type_query(asked, "a dog")
    until(asked, "document.querySelector('.curve')")
    until(asked, "video.readyState >= 1")
    curve = asked.find_element("css selector", ".curve")
    script(asked, "video.muted = true; arguments[0].focus()", curve)
    for keys, second in (([Keys.ARROW_RIGHT] * 3, 6), ([Keys.ARROW_LEFT], 4)):
        for key in keys:
            press(asked, key)
            until(asked, "!video.seeking")
        assert script(asked, "return video.currentTime") == second
        until(asked, f"document.querySelector('.curve').getAttribute('aria-valuenow') === '{second:.1f}'")
    ActionChains(asked).move_to_element(curve).click().perform()
    assert 10 <= until(asked, "video.currentTime > 9 && video.currentTime") < 13
    assert asked.get_log("browser") == []


def test_serve_says_errors_and_turns_in_one_line(asked, served_page, tmp_path):
    type_query(asked, "refused")
    until(asked, f"{STATE} === 'query: has a second line → ask something else'")
    other = served_page.begin(f"until {tmp_path / 'go'}")
    type_query(asked, "a dog")
    until(asked, f"{STATE} === 'Questions are answered one at a time. Questions before yours: 1.'")
    (tmp_path / "go").touch()
    until(asked, f"{STATE}.startsWith('Answered in ')")
    assert "section" in list(other)[-1]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_serve_fits_in_every_width_and_can_be_read(asked, tmp_path, width, scheme):
    look(asked, width, scheme)
    type_query(asked, "a dog that runs along the beach " * 5)
    until(asked, "document.querySelector('.notes li') && video.readyState >= 2")
    assert script(asked, "return document.documentElement.scrollWidth") <= width
    contrasts = script(asked, CONTRASTS)
    assert {"about", "note", "button", "state"} <= set(contrasts)
    assert min(contrasts.values()) >= 4.5, contrasts
    screenshot(asked, Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"serve-{scheme}-{width}.png")
    assert asked.get_log("browser") == []


def test_serve_says_that_its_program_has_ended(driver, served_page):
    from served_page import served

    with served(Path(__file__)) as page:
        driver.get(page.url)
        until(driver, "!document.getElementById('unplayable').hidden")
        assert page.end()[0] == 0
        type_query(driver, "a dog")
        until(driver, f"{STATE}.startsWith('The program that answers has ended')")
    driver.get_log("browser")
