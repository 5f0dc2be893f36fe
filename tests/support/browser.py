"""Debian's Chromium, headless, driven by selenium; and what it has asked for."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from tests.support.optional import excluded, missing

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--enable-unsafe-swiftshader",
)


class Browser:
    """A window of 1200 x 900 pixels with an empty profile in `folder`."""

    def __init__(self, folder: Path) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            missing("browser", "needs chromium and chromedriver")
        if "browser" in excluded:
            missing("browser", "runs without browser")
        try:
            webdriver: Any = importlib.import_module("selenium.webdriver")
        except ModuleNotFoundError as error:
            missing("browser", f"needs {error.name}")
        options = webdriver.ChromeOptions()
        for flag in (*_FLAGS, "--window-size=1200,900", f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(driver)
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        self.asked: list[str] = []
        """The URLs of all requests and websockets, since `note_requests` looked."""

    def close(self) -> None:
        self.driver.quit()

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript in the page; `return ...` gives a result."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """Return the text of an element; empty if it is not there."""
        script = "const e = document.querySelector(arguments[0]); return e ? e.textContent : ''"
        return str(self.run(script, selector))

    def note_requests(self) -> list[str]:
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.asked.append(message["params"]["url"])
        return self.asked

    def errors(self) -> list[str]:
        """Return the errors in the console; empty if there are none."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]
