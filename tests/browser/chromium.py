"""Debian's Chromium without a window, driven by Selenium; installed by apt where it is missing and that is allowed."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
PACKAGES = ("chromium", "chromium-driver")
OPTIONS = ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")
HEIGHT = 900


def install() -> str:
    """Install what is missing. Returns why that is not possible here, or ''."""
    if all(map(shutil.which, PROGRAMS)):
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "no Chromium here, and it can be installed by root on Debian alone"
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *PACKAGES]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} ended with {done.stderr.strip()[-300:]}"
    return ""


@contextmanager
def browser(width: int = 1400, scheme: str = "light") -> Iterator[Any]:
    """Yield a browser with a window of so many CSS pixels and a preferred colour scheme."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in (*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        look(driver, width, scheme)
        yield driver
    finally:
        driver.quit()


def look(driver: Any, width: int, scheme: str) -> None:
    """Give the window another width and the page another colour scheme."""
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)


def screenshot(driver: Any, path: Path, tallest: int = 6000) -> None:
    """Write the whole page as a picture."""
    width, height = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, tallest), "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(taken["data"]))
