"""``docs/upstream.md`` says what the code does: every figure on it is the constant's, every field a field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claudeops.api.generate import render
from claudeops.sidecar import federation
from claudeops.wire import dial, http2, pool, resolver

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "upstream.md").read_text().split())


@pytest.mark.parametrize(
    "words",
    [
        f"closed after {pool.IDLE_TICKS} s",
        f"serves {pool.AGE_TICKS} s, {pool.AGE_JITTER * 100:.0f} % more or less",
        f"at most {pool.WARM_BACKOFF_MAX_TICKS} s",
        f"last answer is {resolver.LIFETIME_S:.0f} s old",
        f"serves for {resolver.STALE_S:.0f} s while the resolver itself is away",
        f"the next one {dial.ATTEMPT_DELAY_S} s after the one before",
        f"probes every {dial.KEEPALIVE_IDLE_S} s, dead after {dial.KEEPALIVE_PROBES}",
        f"up to {http2.STREAMS_MAX} Messages requests",
        f"its own stream ({http2.STREAM_WINDOW_BYTES // 1024} KiB)",
        f"no PING within {http2.PING_TICKS} s after {http2.PING_TICKS} s of silence",
        f"renews it {federation.MARGIN_S:.0f} s before its end",
        f"1, 2, 4 … {federation.BACKOFF_LAST_S:.0f} s, and the token",
        f"most every {federation.REFUSED_EVERY_S:.0f} s",
    ],
)
def test_every_figure_is_the_one_in_force(words: str) -> None:
    assert words in PAGE


def test_every_field_exists() -> None:
    schemas = "".join(render().values())
    named = set(re.findall(r"`(?:connections|resilience\.timeouts|upstream|credentials)\.(\w+)", PAGE))
    assert {"min", "max", "protocol", "connect", "caBundleRef", "secretRef"} <= named
    blocks = re.findall(r"```yaml (.*?)```", PAGE)
    named |= {name for block in blocks for name in re.findall(r"(\w+):[ {]", block)} - {"kind", "http", "https", "optional"}
    for name in named:
        assert f"{name}:" in schemas, name
