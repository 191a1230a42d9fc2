"""``claudeops run``: the same product without Kubernetes."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from claudeops.errors import InvalidResource
from claudeops.fleet import FleetSettings, parse_settings
from claudeops.sidecar.config import decode_secret
from claudeops.standalone.local_fleet import LocalOptions
from claudeops.standalone.output import JsonOutput, LineOutput, Output
from claudeops.standalone.plan import PlanRules
from claudeops.standalone.program import Program
from claudeops.standalone.session import RunOptions, check, run_session

KEY_VARIABLE: Final = "ANTHROPIC_API_KEY"
OUTPUTS: Final = ("auto", "table", "lines", "json")
LOCAL_SETTINGS: Final = ("report_interval_s=2", "learning_s=0.001")
"""Nothing was leased before this process began, so there is nothing to learn; and a person watches."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``claudeops run``."""
    parser.add_argument(
        "-f", "--file", action="append", required=True, metavar="PATH", type=Path, help="manifests: a file, or a folder of them; repeatable"
    )
    parser.add_argument("--check", action="store_true", help="only say whether the manifests can be used (exit code 0 or 1)")
    parser.add_argument("--simulator", action="store_true", help="start our simulator in place of the API: no key, no cost")
    parser.add_argument("--key-file", metavar="FILE", type=Path, help=f"API key of workloads without a Secret here (else ${KEY_VARIABLE})")
    parser.add_argument("--port", type=int, default=4141, help="first proxy's port, further ones follow; 0: any (default %(default)s)")
    parser.add_argument("--proxies", type=int, default=1, help="proxies of each workload (default %(default)s)")
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="auto", help="auto: a table on a terminal, lines elsewhere")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="left to running requests at the end (default 30)")
    parser.add_argument("--verbose", action="store_true", help="also print what the proxies log when nothing is wrong")
    parser.add_argument("--workload", default="", metavar="NAME", help="the workload that the command is, where there are several")
    parser.add_argument("program", nargs="*", metavar="-- COMMAND", help="run this against its workload's proxy, and end with it")
    names = ", ".join(sorted(FleetSettings.__dataclass_fields__))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=f"a time constant or threshold: {names}")


def run(args: argparse.Namespace) -> int:
    """Runs until it is stopped: 0; or until its command ends: that one's exit code. 1 when the manifests cannot be used, say.

    Raises :class:`~claudeops.errors.ClaudeOpsError` with the reason.
    """
    options = options_of(args)
    if args.check:
        return _check(options)
    output = _output(args.output) if options.program is None else _aside(args.output, is_verbose=args.verbose)
    try:
        return asyncio.run(run_session(options, output))
    except BrokenPipeError:  # whoever read what is printed has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        output.close()


def options_of(args: argparse.Namespace) -> RunOptions:
    """What the arguments say. Raises :class:`~claudeops.errors.InvalidResource`."""
    for name, least, most in (("port", 0, 65_535), ("proxies", 1, 100), ("grace", 0, 86_400)):
        if not least <= getattr(args, name) <= most:
            raise InvalidResource(f"must be between {least} and {most}", path=f"--{name}")
    local = LocalOptions(
        first_port=args.port,
        proxies=args.proxies,
        grace_s=args.grace,
        is_verbose=args.verbose,
        settings=parse_settings([*LOCAL_SETTINGS, *args.set]),
    )
    program = Program(tuple(args.program), args.workload) if args.program else None
    return RunOptions(tuple(args.file), PlanRules(_fallback_key(args.key_file), args.simulator), local, program)


def _fallback_key(path: Path | None) -> bytes | None:
    if path is None:
        text = os.environ.get(KEY_VARIABLE, "").strip()
        return text.encode() or None
    try:
        return decode_secret(path.read_bytes()).encode()
    except OSError as error:
        raise InvalidResource(f"{path} cannot be read: {error.strerror}", path="--key-file") from error
    except InvalidResource as error:
        raise InvalidResource(f"{path} {error}", path="--key-file") from error


def _check(options: RunOptions) -> int:
    plan, complaints, notes = check(options)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if complaints:
        return 1
    print(f"{len(plan.workloads)} workloads and {len(plan.quotas)} quotas: all can be used")
    return 0


def _aside(choice: str, *, is_verbose: bool) -> Output:
    """Beside a command, which has the standard output for itself."""
    return JsonOutput(sys.stderr) if choice == "json" else LineOutput(sys.stderr, is_quiet=not is_verbose)


def _output(choice: str) -> Output:
    if choice == "json":
        return JsonOutput()
    if choice == "table" or (choice == "auto" and sys.stdout.isatty()):
        from claudeops.standalone.table import TableOutput

        return TableOutput()
    return LineOutput()
