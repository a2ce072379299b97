"""A headless Chromium of Debian's, driven by Selenium: pages on a phone's or a desk's screen, and what they said."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PHONE, DESK = (390, 844), (1440, 900)
"""Width and height in CSS pixels."""
PROGRAMS = ("chromium", "chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
SHOW = """
const [selector, number, done] = arguments;
const element = document.querySelectorAll(selector)[number];
element.scrollIntoView({ block: "start", behavior: "instant" });
Promise.all([...element.querySelectorAll("img")].map((image) => image.decode())).then(() => {
  const box = element.getBoundingClientRect();
  const height = Math.min(box.height, innerHeight - box.top);
  done({ x: box.x + scrollX, y: box.y + scrollY, width: box.width, height });
});
"""


def require_chromium() -> None:
    """Skip where there is no Chromium; fail in CI, where `make test-web` has brought it."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        return
    said = f"no {' and no '.join(missing)}: `make test-web` installs both as root (Debian: apt install chromium-driver)"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


class Browser:
    """One window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, address: str) -> None:
        self.driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any) -> Any:
        """Run a script that ends by calling its last argument."""
        return self.driver.execute_async_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console said since the last call, warnings and errors."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in {"WARNING", "SEVERE"}]

    def requests(self) -> list[str]:
        """Every address that was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [message["params"]["request"]["url"] for message in sent]

    def picture_of(self, selector: str, number: int, path: Path) -> Path:
        """A screenshot of as much of one element as the window holds, once its pictures are drawn."""
        box = self.wait(SHOW, selector, number)
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": {**box, "scale": 1}})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile, ended with its window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(60)
        browser = Browser(driver)
        browser.open("data:,")
        browser.complaints(), browser.requests()  # what the browser's own first page said and asked for
        yield browser
    finally:
        driver.quit()
