"""Progress lines: what was done, how long it took, and how far the whole is."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

HEARTBEAT_S = 15.0


class Progress:
    """Prints one line at the end of each step (steps may run side by side) and a sign of life in long ones."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._start_s = time.monotonic()
        self._lock = threading.Lock()
        self._quiet = quiet

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._start_s

    def say(self, text: str) -> None:
        """Print one line, led by the time since the start."""
        if not self._quiet:
            with self._lock:
                print(f"[{self.elapsed_s:6.1f}s] {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, name: str, *, hint: str = "") -> Iterator[None]:
        """Time a step; `hint` says in its heartbeat what to expect."""
        start_s = time.monotonic()
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(name, hint, start_s, ended), daemon=True)
        beat.start()
        outcome = "failed after "
        try:
            yield
            outcome = ""
        finally:
            ended.set()
            self.say(f"{name}: {outcome}{time.monotonic() - start_s:.1f} s")

    def _beat(self, name: str, hint: str, start_s: float, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_S):
            self.say(f"{name}: still at it, {time.monotonic() - start_s:.0f} s{f' ({hint})' if hint else ''}")
