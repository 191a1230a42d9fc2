"""The first act: the same manifests on this machine alone, while the cluster is still coming up."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import threading
import time
from typing import Any

from tools.demo.access import ROOT, DemoError, wait_until
from tools.demo.local_run import LocalRun, call
from tools.demo.screen import Screen

EXAMPLE = "examples/support-bot"
BOT, READER = "shop/support-bot", "shop/invoice-reader"
OLD, NEW = "claude-sonnet-4-6", "claude-sonnet-5-5"
LOAD_S = 2.0
LIMIT_PER_MIN = 600
TITLE = "While Kubernetes comes up: the same YAML on this machine alone"


class Opening:
    """One step of the report. What it started is ended by :meth:`close`."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="claudeops-demo-"))
        self._run: LocalRun | None = None
        self.results: list[dict[str, Any]] = []

    def tell(self) -> None:
        """Plays it. A failure is said and reported; the story goes on without it."""
        self._screen.step(TITLE)
        began_s = time.monotonic()
        figures: dict[str, Any] = {}
        problem = ""
        try:
            for act in (self._start, self._temperatures, self._change, self._share):
                figures |= act()
        except (DemoError, OSError, KeyError, ValueError) as error:
            problem = str(error) or type(error).__name__
            self._screen.bad(problem)
        finally:
            if self._run is not None:
                self._run.stop()
        result = {"step": TITLE, "happened": not problem, "seconds": round(time.monotonic() - began_s, 1), "figures": figures}
        self.results.append({**result, **({"problem": problem} if problem else {})})

    def close(self) -> None:
        """Leaves nothing behind."""
        if self._run is not None:
            self._run.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _running(self) -> LocalRun:
        assert self._run is not None
        return self._run

    def _start(self) -> dict[str, Any]:
        self._screen.note(f"claudeops run -f {EXAMPLE} --simulator --proxies 2")
        for file in (ROOT / EXAMPLE).glob("*.yaml"):
            shutil.copy(file, self._folder)
        began_s = time.monotonic()
        self._run = LocalRun(self._folder, proxies=2)
        self._run.wait("the proxies", self._run.is_ready)
        seconds = round(time.monotonic() - began_s, 1)
        proxies = sum(len(urls) for urls in self._run.urls.values())
        self._screen.good(f"{proxies} proxies of {len(self._run.urls)} workloads serve after {seconds} s: no cluster, no API key, no cost")
        return {"secondsToReady": seconds, "proxies": proxies}

    def _temperatures(self) -> dict[str, Any]:
        question = {"max_tokens": 50, "messages": [{"role": "user", "content": "Where is my parcel?"}]}
        self._screen.note(f'curl $ANTHROPIC_BASE_URL/v1/messages -d \'{{"model": "{NEW}", "temperature": 0.9, …}}\'')
        refused, error = call(self._running.simulator, "/v1/messages", {**question, "model": NEW, "temperature": 0.9})
        served, _ = call(self._running.urls[BOT][0], "/v1/messages", {**question, "model": NEW, "temperature": 0.9})
        if (refused, served) != (400, 200):
            raise DemoError(f"the API answered {refused} and the proxy {served}, not 400 and 200")
        self._screen.good(f"the API itself answers 400 ({error['error']['message']}); through the proxy it is a 200")
        sent = self._sent_temperature()
        if sent != 0.4:
            raise DemoError(f"the API received temperature {sent}, not 0.4")
        self._screen.good(f"{READER} asks {OLD} for temperature 1.0: the API received 0.4, the profile's maximum")
        return {"directly": refused, "throughTheProxy": served, "clampedTo": sent}

    def _change(self) -> dict[str, Any]:
        file = self._folder / "profile.yaml"
        file.write_text(file.read_text().replace("max: 0.4}", "max: 0.6}"))
        began_s = time.monotonic()
        wait_until("the new bound", lambda: self._sent_temperature() == 0.6, timeout_s=15, every_s=0.05)
        seconds = round(time.monotonic() - began_s, 1)
        self._screen.good(f"profile.yaml saved with a maximum of 0.6: in force after {seconds} s, without a restart")
        return {"secondsToReload": seconds}

    def _share(self) -> dict[str, Any]:
        """Both proxies of one workload are asked more than the limit allows; one of them three times as much as the other."""
        run = self._running
        call(run.simulator, "/_sim/reset")
        ending, answers = threading.Event(), [list[int](), list[int]()]
        threads = [
            threading.Thread(target=_ask, args=(url, seen, ending))
            for url, seen, customers in zip(run.urls[BOT], answers, (18, 6), strict=True)
            for _ in range(customers)
        ]
        for thread in threads:
            thread.start()
        time.sleep(LOAD_S)
        ending.set()
        for thread in threads:
            thread.join()
        served = [seen.count(200) for seen in answers]
        codes = call(run.simulator, "/_sim/stats", method="GET")[1]["by_code"]
        throttled = codes.get("429", 0)
        if not all(served) or throttled > 0.02 * sum(served):
            raise DemoError(f"the two proxies served {served} requests, and the API answered 429 to {throttled}")
        self._screen.good(
            f"two proxies of {BOT}, one with three times the customers, share one limit of {LIMIT_PER_MIN} a minute: "
            f"{served[0]} and {served[1]} answers in {LOAD_S:.0f} s, {throttled} answered 429 by the API"
        )
        return {"served": served, "throttled": throttled}

    def _sent_temperature(self) -> Any:
        """What the API receives when the application asks for 1.0."""
        question = {"model": OLD, "max_tokens": 20, "temperature": 1.0, "messages": [{"role": "user", "content": "What is due?"}]}
        call(self._running.urls[READER][0], "/v1/messages", question)
        seen = call(self._running.simulator, f"/_sim/requests?limit=1&model={OLD}", method="GET")[1]
        return seen[0]["sampling"].get("temperature") if seen else None


def _ask(url: str, seen: list[int], ending: threading.Event) -> None:
    question = {"model": NEW, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello?"}]}
    while not ending.is_set():
        try:
            seen.append(call(url, "/v1/messages", question)[0])
        except OSError:
            seen.append(0)
