"""A headless Chromium, driven through chromedriver over HTTP; nothing of it leaves this machine."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
)


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self.session = session

    def call(self, command: str, **arguments: Any) -> Any:
        return _post(f"{self.session}/{command}", arguments)

    def open(self, path: Path, *, frame: int | None = None) -> None:
        anchor = "" if frame is None else f"#frame={frame}"
        self.call("url", url=path.resolve().as_uri() + anchor)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.call("execute/sync", script=script, args=list(arguments))

    def wait(self, condition: str, seconds: float = 20.0) -> Any:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(f"return {condition}"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {condition}")

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.call("goog/cdp/execute", cmd=command, params=parameters)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def script_off(self) -> None:
        self.devtools("Emulation.setScriptExecutionDisabled", value=True)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        found = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def errors(self) -> list[str]:
        """What the console holds against the page."""
        return [entry["message"] for entry in self.call("se/log", type="browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        entries = [
            json.loads(entry["message"])["message"] for entry in self.call("se/log", type="performance")
        ]
        return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromedriver", "--port=0", "--log-level=SEVERE"]
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        session = None
        try:
            address = f"http://127.0.0.1:{_port(driver)}/session"
            options = {
                "binary": shutil.which("chromium"),
                "args": [*FLAGS, f"--user-data-dir={profile}"],
                "perfLoggingPrefs": {"enableNetwork": True},
            }
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            made = _post(address, {"capabilities": {"alwaysMatch": wanted}})
            session = f"{address}/{made['sessionId']}"
            yield Browser(session)
        finally:
            if session is not None:
                request = urllib.request.Request(session, method="DELETE")
                _OPENER.open(request, timeout=20).close()
            driver.terminate()
            driver.communicate(timeout=20)


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine


def _post(address: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with _OPENER.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


def _port(driver: subprocess.Popen[str]) -> int:
    for line in driver.stdout or ():
        if "started successfully on port" in line:
            return int(line.rstrip(".\n").rsplit(" ", 1)[1])
    raise AssertionError("chromedriver does not start")
