"""The fuzz driver: ``python -m tests.fuzz --minutes 10``.

Every target runs for its share of the time on bytes that a seed decides; a finding ends the run with 1 and says how to repeat it. A run
that takes longer than ten seconds is a hang; memory that grows from the first quarter to the end is a leak. ``--engine atheris`` looks
for new paths by coverage, where atheris is installed (one target at a time).
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable
from random import Random
from types import FrameType

TARGETS = ("requests", "answers", "calls", "storms")
SIZES = (10, 40, 120, 400, 1_200)
HANG_S = 10
GROWTH_MAX_MIB = 16.0
Check = Callable[[bytes], None]


class Hang(Exception):
    """One run took too long."""


def load(target: str) -> Check:
    """The target's check."""
    check: Check = importlib.import_module(f"tests.fuzz.{target}").check
    return check


def bytes_of(seed: int) -> bytes:
    """What a seed stands for."""
    random = Random(seed)
    return random.randbytes(random.choice(SIZES))


def resident_mib() -> float:
    """Of this process."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) / 256


def shrunk(check: Check, data: bytes) -> bytes:
    """A shorter finding: cut off the end, and set to zero what can be, as long as it fails."""
    for size in range(0, len(data), max(1, len(data) // 100)):
        if is_finding(check, data[:size]):
            data = data[:size]
            break
    for at in range(len(data)):
        if data[at]:
            simpler = data[:at] + b"\x00" + data[at + 1 :]
            data = simpler if is_finding(check, simpler) else data
    return data


def is_finding(check: Check, data: bytes) -> bool:
    """Does it fail?"""
    try:
        check(data)
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        return True
    return False


def run(target: str, seconds: float, seed: int) -> int:
    """How many runs it took; exits at a finding."""
    check = load(target)
    check(b"")  # what is loaded once is no growth
    began_at, runs, early_mib, is_warm = time.monotonic(), 0, resident_mib(), False
    while (passed := time.monotonic() - began_at) < seconds:
        if not is_warm and passed > seconds / 4:
            early_mib, is_warm = resident_mib(), True
        data = bytes_of(seed + runs)
        signal.alarm(HANG_S)
        try:
            check(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            signal.alarm(0)
            traceback.print_exc()
            data = shrunk(check, data)
            sys.exit(f"{target}: seed {seed + runs}; again: python -m tests.fuzz --target {target} --replay {data.hex() or '00'}")
        runs += 1
    signal.alarm(0)
    grown_mib = resident_mib() - early_mib
    if grown_mib > GROWTH_MAX_MIB:
        sys.exit(f"{target}: memory grew by {grown_mib:.1f} MiB")
    print(f"{target}: {runs} runs, nothing found; memory {grown_mib:+.1f} MiB")
    return runs


def run_atheris(target: str, seconds: float, seed: int) -> None:
    """Does not return."""
    import atheris  # type: ignore[import-not-found]  # only where somebody has installed it

    with atheris.instrument_imports(include=["claudeops"]):
        check = load(target)
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=1200", f"-seed={seed or 1}", f"-timeout={HANG_S}"], check)
    atheris.Fuzz()


def hang(number: int, frame: FrameType | None) -> None:
    """The alarm's end."""
    raise Hang(f"longer than {HANG_S} s")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="the first one; 0: by the clock")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--replay", metavar="HEX", help="one run of --target on these bytes")
    parser.add_argument("--engine", choices=("random", "atheris"), default="random")
    args = parser.parse_args()
    targets = (args.target,) if args.target else TARGETS
    if args.replay:
        load(targets[0])(bytes.fromhex(args.replay))
        return
    if args.engine == "atheris":
        run_atheris(targets[0], args.minutes * 60, args.seed)
    signal.signal(signal.SIGALRM, hang)
    seed = args.seed or time.time_ns() // 1_000_000 << 24
    for target in targets:
        run(target, args.minutes * 60 / len(targets), seed)


if __name__ == "__main__":
    main()
