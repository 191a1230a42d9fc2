"""Other proxies for the Claude API beside ours: LiteLLM and Portkey, each in an environment of its own under the cache folder.

What they do with a request differs (LiteLLM translates and counts, Portkey routes), so this says what a user pays for each, not whose code
is better. One worker each, on the same pinned core.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tools.images.interpreter import image_interpreter
from tools.localcluster.cache import digest
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.pip import pip

from bench.arguments import comparison_parser
from bench.compare import DIRECT, Case, Sample, judge, print_table, run_rounds
from bench.envoy import envoy
from bench.load import put_load, put_streams
from bench.machine import CACHE, Missing, free_port, resident_mib, run_once, running, wait_for_port
from bench.result import Row, record
from bench.subject import COMPILED, HEADERS, MODEL, PROXY_CORE, Subject, Upstreams, config_document, our_proxy, upstream

LITELLM_REQUIREMENT = "litellm[proxy]==1.106.2"
PORTKEY_REQUIREMENT = "@portkey-ai/gateway@1.15.2"
LITELLM, PORTKEY, ENVOY = "LiteLLM", "Portkey", "Envoy"
MASTER_KEY = "sk-bench-0123456789abcdef0123456789abcdef"
START_LIMIT_S = 120.0
WARM_UP_TRIES = 12


class Barred(NamedTuple):
    """A case, and how many times the peers' CPU must be ours at least."""

    case: Case
    litellm: float = 0.0
    portkey: float = 0.0


CASES = (
    Barred(Case("2 KB JSON, 1 connection", connections=1)),
    Barred(Case("2 KB JSON, 32 connections"), 200.0, 30.0),
    Barred(Case("2 KB JSON, 128 connections", connections=128, seconds=4)),
    Barred(Case("20 KB JSON, 32 connections", size=20_480)),
    Barred(Case("100 events back to back, 16 streams", is_streamed=True, connections=16, seconds=4)),
    Barred(Case("first byte of a stream at 5 a second", is_streamed=True, connections=8, per_s=5.0, seconds=4)),
)


@contextlib.contextmanager
def litellm(folder: pathlib.Path, upstreams: Upstreams, *, cores: set[int]) -> Iterator[Subject]:
    """Its proxy server with one model, no database and no callbacks, on the interpreter that ours runs on."""
    python = image_interpreter().executable
    home = CACHE / "litellm" / f"{LITELLM_REQUIREMENT}-{digest(str(python))}".translate(str.maketrans("[]", "--", "="))
    if not (home / "done").exists():
        print(f"  installing {LITELLM_REQUIREMENT} (once, minutes)", flush=True)
        run_once([str(python), "-m", "venv", "--without-pip", str(home)])
        pip(["--python", home / "bin" / "python", "install", "-q", LITELLM_REQUIREMENT])
        (home / "done").touch()
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "litellm.json"
    model = {"model_name": MODEL, "litellm_params": {"model": f"anthropic/{MODEL}", "api_base": upstreams.url, "api_key": "sk-bench"}}
    # It refuses a temperature that the model does not take, unless it may leave it out.
    settings = {"general_settings": {"master_key": MASTER_KEY}, "litellm_settings": {"drop_params": True}}
    config.write_text(json.dumps({"model_list": [model], **settings}))
    command = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environment = {"PYTHONPATH": "", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True"}
    with running(command, cores=cores, log=folder / "litellm.log", environment=environment) as process:
        wait_for_port(port, process, START_LIMIT_S)
        yield Subject(LITELLM, process.pid, port, headers={**HEADERS, "x-api-key": MASTER_KEY})


@contextlib.contextmanager
def portkey(folder: pathlib.Path, upstreams: Upstreams, *, cores: set[int]) -> Iterator[Subject]:
    """Its gateway, told by headers where to go."""
    home = CACHE / "portkey" / PORTKEY_REQUIREMENT.rpartition("@")[2]
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Missing("Node.js is missing: apt-get install nodejs npm")
    if not (home / "done").exists():
        print(f"  installing {PORTKEY_REQUIREMENT} (once)", flush=True)
        home.mkdir(parents=True, exist_ok=True)
        run_once([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), PORTKEY_REQUIREMENT])
        (home / "done").touch()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = {
        **{name: value for name, value in HEADERS.items() if name != "x-api-key"},
        "x-portkey-provider": "anthropic",
        "x-portkey-custom-host": f"{upstreams.url}/v1",
        "authorization": "Bearer sk-bench",
    }
    # It refuses hosts of the own machine unless they are named.
    trusted = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1", "NODE_ENV": "production"}
    with running(
        [node, str(script), "--headless", f"--port={port}"], cores=cores, log=folder / "portkey.log", environment=trusted
    ) as process:
        wait_for_port(port, process, START_LIMIT_S)
        yield Subject(PORTKEY, process.pid, port, headers=headers)


def start_all(stack: ExitStack, folder: pathlib.Path, upstreams: Upstreams) -> list[Subject]:
    """Every candidate; one that cannot be had here is left out and said."""
    document = config_document(upstreams.url)
    subjects = [
        stack.enter_context(envoy(folder / "envoy", upstreams, cores=PROXY_CORE)),
        stack.enter_context(envoy(folder / "lua", upstreams, cores=PROXY_CORE, is_clamping=True)),
        stack.enter_context(our_proxy(folder / "pure", document, cores=PROXY_CORE)),
        stack.enter_context(our_proxy(folder / "compiled", document, cores=PROXY_CORE, is_compiled=True)),
    ]
    for start in (litellm, portkey):
        try:
            subjects.append(stack.enter_context(start(folder / start.__name__, upstreams, cores=PROXY_CORE)))
        except (LocalClusterError, Missing, RuntimeError) as error:
            print(f"  {start.__name__} is left out: {error}", flush=True)
    return subjects


def warm_up(folder: pathlib.Path, subjects: list[Subject]) -> list[Subject]:
    """Each has answered; those come back that can stream here (Portkey 1.15.2 cannot on every version of Node.js)."""
    streaming = []
    for subject in subjects:
        if not any(put_load(folder, subject, Case("warm").body, connections=4, seconds=5).requests for _ in range(WARM_UP_TRIES)):
            raise RuntimeError(f"{subject.name} answers nothing")
        try:
            put_streams(folder, subject, Case("warm", is_streamed=True).body, connections=2, seconds=2)
            streaming.append(subject)
        except RuntimeError as error:
            print(f"  {subject.name} is left out of the streams: {error}", flush=True)
    return streaming


def rows_of(barred: Barred, samples: dict[str, list[Sample]], rounds: int) -> list[Row]:
    """One row for each candidate: its CPU, and how many times ours that is."""
    ours, rows = judge(samples, COMPILED), []
    unit = "µs of CPU an event" if barred.case.is_streamed else "µs of CPU a request"
    for name, seen in ours.items():
        if name == DIRECT:
            continue
        wanted = {LITELLM: barred.litellm, PORTKEY: barred.portkey}.get(name, 0.0)
        bar = f"≥ {wanted:g} × ours" if wanted else "reported"
        times = f"first byte {seen.first_ms:.2f} ms, " * (seen.first_ms > 0) + f"median {seen.median_ms:.2f} ms"
        measured = f"{seen.cpu_us:,.1f} {unit}, {seen.cpu_ratio:,.1f} × ours; {seen.requests_per_s:,.0f} requests a second; {times}"
        rows.append(Row(f"{name}, {barred.case.name}", bar, measured, round(seen.cpu_us, 1), unit, round(seen.cpu_ratio, 2), rounds))
    return rows


def main() -> None:
    """Measures, prints and records."""
    args = comparison_parser(__doc__).parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = pathlib.Path(name)
        upstreams = stack.enter_context(upstream(folder / "upstream"))
        subjects = start_all(stack, folder, upstreams)
        streaming = warm_up(folder, subjects)
        idle = {subject.name: resident_mib(subject.pid) for subject in subjects}
        for barred in CASES:
            case = barred.case._replace(seconds=1) if args.quick else barred.case
            samples = run_rounds(
                folder, [*(streaming if case.is_streamed else subjects), Subject(DIRECT, 0, upstreams.port)], case, args.rounds
            )
            print_table(case, judge(samples, ENVOY))
            rows += rows_of(barred, samples, args.rounds)
        for subject in subjects:
            loaded = resident_mib(subject.pid)
            rows.append(
                Row(f"{subject.name}: memory when warm", "reported", f"{idle[subject.name]:.0f} MiB, {loaded:.0f} after", loaded, "MiB")
            )
    if not args.quick:
        record("peers", rows, {"order": [row.figure for row in rows]})


if __name__ == "__main__":
    main()
