"""The page as people meet it: a real browser opens it, chooses somebody, says what it thinks, and the list changes."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shortlist.config import Settings
from tests.end_to_end.test_http import Served, serving
from tests.end_to_end.test_security import locked, make

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
CANARY = '<script>window.canary = 1</script><img src="x" onerror="window.canary = 2">'
DEADLINE = 15  # seconds of silence after which the browser counts as stuck
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--lang=en"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here; scripts/test installs it")


class Browser:
    """One tab, driven over the DevTools protocol: JSON messages, each ended by a zero byte, in pipes."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self.rest, self.number, self.session = b"", 0, ""
        self.troubles: list[str] = []
        self.loaded: set[str] = set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            pass
        assert "error" not in answer, (method, params, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        loader = self.call("Page.navigate", url=url)["loaderId"]
        while loader not in self.loaded:
            self._next()

    def js(self, expression: str) -> Any:
        """The value of `expression` in the page, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Return once `condition` holds in the page."""
        self.js(
            f"new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 5); look(); }})"
        )

    def _next(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as ready:
            ready.register(self.reading, selectors.EVENT_READ)
            while b"\0" not in self.rest:
                assert ready.select(DEADLINE), "the browser says nothing any more"
                more = os.read(self.reading, 1 << 16)
                assert more, "the browser is gone"
                self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.lifecycleEvent" and params["name"] == "load":
            self.loaded.add(params["loaderId"])
        bad = method == "Runtime.exceptionThrown"
        bad |= method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning")
        bad |= method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
        if bad:
            self.troubles.append(json.dumps(params))


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    commands, answers = os.pipe(), os.pipe()
    line = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}'
    program = subprocess.Popen(
        ["bash", "-c", line, "-", CHROMIUM, *QUIET, f"--user-data-dir={folder}", "--remote-debugging-pipe"],
        pass_fds=(commands[0], answers[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        browser = Browser(answers[0], commands[1])
        yield browser
        browser.session = ""
        browser.call("Browser.close")
        program.wait(DEADLINE)
    finally:
        program.kill()
        program.wait()
        os.close(answers[0])
        os.close(commands[1])


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with browsing(tmp_path / "profile") as browser:
        yield browser


TITLES = "[...document.querySelectorAll('#list li > span:first-child')].map((each) => each.textContent)"
REASONS = "[...document.querySelectorAll('#list .why')].map((each) => each.textContent)"
HISTORY = "[...document.querySelectorAll('#history li:not(.quiet)')].map((each) => each.firstChild.textContent)"


def test_what_a_person_says_on_the_page_changes_their_list(served: Served, browser: Browser) -> None:
    first = served.ids(user_id="u3")[0]
    assert served.client.put(f"/v1/items/{first}", json={"fields": {"title": CANARY}}).status_code == 200

    browser.open(f"{served.client.base_url}/?user=u3")
    browser.until(f"{TITLES}.length")
    assert browser.js(TITLES)[0] == f"1. {CANARY}"  # text, not markup
    assert all(browser.js(REASONS))
    assert browser.js(HISTORY)

    browser.js("document.querySelector('#list button[aria-label^=\"Not for me\"]').focus()")
    browser.js("document.activeElement.click()")
    browser.until(f"!{TITLES}[0].includes('script')")
    assert not any("script" in title for title in browser.js(TITLES))
    assert browser.js(HISTORY)[0] == CANARY
    browser.until("document.activeElement.closest('#list li') === document.querySelector('#list li')")

    browser.js("[...document.querySelectorAll('#worth button')].at(-1).click()")
    browser.until("document.querySelector('#history .quiet')")
    popular = browser.js(TITLES)
    browser.js("document.querySelector('#list button').click()")
    browser.until(f"{HISTORY}.length === 1")
    assert browser.js(HISTORY) == [popular[0].removeprefix("1. ")]
    assert browser.js("document.getElementById('person').value").startswith("visitor-")
    assert popular[0] not in browser.js(TITLES)

    assert browser.js("window.canary ?? 0") == 0
    assert browser.troubles == []


def test_a_page_that_is_loaded_again_shows_the_same_person(served: Served, browser: Browser) -> None:
    browser.open(f"{served.client.base_url}/")
    browser.until(f"{TITLES}.length")
    browser.js("document.querySelector('#worth button').click()")
    chosen = browser.js("document.querySelector('#worth button').value")
    browser.open(browser.js("location.href"))
    browser.until(f"{TITLES}.length")
    assert browser.js("document.getElementById('person').value") == chosen


def test_pages_fit_a_small_screen_and_are_drawn_without_a_complaint(served: Served, browser: Browser) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=1, mobile=False)
    for path, drawn in (("/", f"{TITLES}.length"), ("/docs", "document.querySelector('#shapes section')")):
        browser.open(f"{served.client.base_url}{path}")
        browser.until(drawn)
        assert browser.js("document.documentElement.scrollWidth") <= 360, path
    assert browser.troubles == []


def test_the_docs_ask_for_the_key_that_the_contract_needs(installation: Settings, browser: Browser) -> None:
    with serving(locked(installation)) as served:
        key = make(served, "shop", "read")["Authorization"].removeprefix("Bearer ")
        answers = f"const given = ['wrong', '{key}']; window.prompt = () => given.shift();"
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=answers)
        browser.open(f"{served.client.base_url}/docs")
        browser.until("document.querySelector('#shapes section')")
        browser.open(f"{served.client.base_url}/static/style.css")
        browser.open(f"{served.client.base_url}/docs#malformed_body")  # remembered: nobody is asked again
        browser.until("document.querySelector('#shapes section')")
        assert browser.js("given.length") == 2

        unkeyed = "sessionStorage.clear(); window.prompt = () => null;"
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=unkeyed)
        browser.open(f"{served.client.base_url}/static/style.css")
        browser.open(f"{served.client.base_url}/docs")
        browser.until("document.querySelector('#operations p')")
        assert "no key was sent" in browser.js("document.querySelector('#operations p').textContent")
