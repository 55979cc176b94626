"""The widths and schemes in which pages are looked at, and what tests do in them."""

from __future__ import annotations

import time
from pathlib import Path

WIDTHS = (400, 900, 1400)
SCHEMES = ("light", "dark")
CONTRASTS = (Path(__file__).with_name("contrasts.js")).read_text()
"""A script that returns the contrast of every text with its background."""


def script(driver, text, *arguments):
    """Run a script in the page and return its result."""
    return driver.execute_script(text, *arguments)


def until(driver, text, seconds=40):
    """Wait until an expression in the page is true, and return its value. A page does much of its work after the event
    that asks for it."""
    end = time.monotonic() + seconds
    while not (value := script(driver, f"return {text}")):
        assert time.monotonic() < end, f"{text} was never true"
        time.sleep(0.05)
    return value


def press(driver, *keys):
    """Press keys one after the other."""
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()
