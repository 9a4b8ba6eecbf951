"""A headless browser for tests."""

import base64
import json
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


class Browser:
    """Chromium, spoken to by its debugging protocol over two pipes; `offline`: without network, loopback included."""

    def __init__(self, profile: Path, offline: bool = True):
        here, theirs = os.pipe(), os.pipe()  # what we write, what it writes
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                   "--disable-component-update", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip

        def numbered():  # it reads from 3 and writes to 4
            read, wrote = os.dup(here[0]), os.dup(theirs[1])
            os.dup2(read, 3)
            os.dup2(wrote, 4)

        self.process = subprocess.Popen([CHROMIUM, *options], preexec_fn=numbered, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(here[0]), os.close(theirs[1])
        self.out, self.into = os.fdopen(here[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self.numbers, self.events, self.session = count(1), [], None
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for part in ("Page", "Network", "Log", "Runtime"):
            self(f"{part}.enable")
        if offline:
            self("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def _next(self) -> dict:
        message = bytearray()
        while (byte := self.into.read(1)) != b"\0":
            assert byte, "the browser ended"
            message += byte
        return json.loads(message)

    def __call__(self, method: str, **parameters) -> dict:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        self.out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def visit(self, path: Path, width: int, dark: bool = False) -> None:
        """Load a file at a width, and forget what was before."""
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        self.js("1")  # whatever was said meanwhile

    def js(self, expression: str):
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def asked(self) -> list[str]:
        """What was requested, beside the page itself and what it holds."""
        requests = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in requests if not url.startswith("data:")][1:]

    def said(self) -> list[str]:
        """Errors and warnings: of the console, of the policy, of the script."""
        heard = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(e["params"])[:300] for e in self.events if e.get("method") in heard]

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"]))
        return path

    def close(self) -> None:
        self.out.close()
        self.process.terminate()
        self.process.wait(timeout=30)
