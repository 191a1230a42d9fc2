"""``claudeops simulate``: the simulator on the command line."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from claudeops.catalogue import RateLimits, load_catalogue
from claudeops.errors import InvalidResource
from claudeops.simulator.config import Account, SimulatorConfig
from claudeops.simulator.fault import Fault
from claudeops.simulator.pool import is_pool
from claudeops.simulator.server import Simulator
from claudeops.simulator.spend import CONTRACT, ORGANIZATION, USAGE_TIER, WORKSPACE_PREFIX
from claudeops.simulator.transcript import Library

PORT_MAX = 65_535
_ABOVE_ZERO = ("burst_s", "output_median", "tokens_per_event", "speed", "tokens_per_s")
_FROM_ZERO = ("output_sigma", "ttft_s", "ramp_growth", "port")
NO_TIER = "none"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``claudeops simulate``."""
    _add_listener(parser)
    _add_limits(parser)
    _add_answers(parser)


def _add_listener(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("listener and accounts")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    group.add_argument("--port", type=int, default=8080, help="port to listen on; 0 lets the system choose (default %(default)s)")
    group.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain: serve HTTPS")
    group.add_argument("--tls-key", metavar="FILE", help="PEM private key of the certificate")
    group.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY=ORG[/WORKSPACE]",
        help="accept this API key for this organisation; repeatable (default: any key that begins with sk-ant-sim, one organisation)",
    )
    group.add_argument("--admin-key", action="append", default=[], metavar="KEY=ORG", help="accept this Admin API key; repeatable")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rate limits")
    tiers = [tier.capitalize() for tier in load_catalogue().tiers]
    group.add_argument("--tier", choices=[*tiers, NO_TIER], default="Build", help="usage tier (default %(default)s)")
    group.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="GROUP=RPM,ITPM,OTPM",
        help="limits of one model group, instead of the tier's, a minute: requests, uncached input tokens, output tokens; repeatable",
    )
    group.add_argument("--spend-limit", action="append", default=[], metavar="SCOPE=USD", help="spend limit a month; repeatable")
    group.add_argument("--ramp-growth", type=float, help="refuse more than this many times the tokens of the minute before")
    group.add_argument("--burst-s", type=float, default=5.0, help="size of each bucket in seconds of its rate (default %(default)s)")
    group.add_argument("--no-ratelimit-headers", action="store_true", help="send no anthropic-ratelimit-* headers")


def _add_answers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("answers")
    group.add_argument("--seed", type=int, default=0, help="seed of all dice: lengths, latencies, ids, faults (default %(default)s)")
    group.add_argument("--fixed-ids", action="store_true", help="ids, lengths and times follow from each request alone")
    group.add_argument("--downloadable-files", action="store_true", help="uploaded files can be downloaded, as if a tool had made them")
    group.add_argument("--compress", action="store_true", help="compress answers for clients that accept gzip")
    group.add_argument("--transcripts", metavar="DIR", help="answers written down as server-sent events, NAME.sse each")
    group.add_argument("--output-median", type=float, default=350.0, metavar="TOKENS", help="median length (default %(default)s)")
    group.add_argument("--output-sigma", type=float, default=0.8, help="sigma of the log-normal length (default %(default)s)")
    group.add_argument("--tokens-per-event", type=int, default=10, help="tokens in one content_block_delta (default %(default)s)")
    group.add_argument("--speed", type=float, default=1.0, help="divide latencies (not limits) by this (default %(default)s)")
    group.add_argument("--ttft-s", type=float, help="median time to first token, instead of the model's own")
    group.add_argument("--tokens-per-s", type=float, help="mean speed of an answer, instead of the model's own")
    group.add_argument("--faults", metavar="FILE", help="JSON list of faults in force from the start, as for PUT /_sim/faults")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. 0 after an orderly end, 2 when the arguments cannot be used, 1 when listening fails."""
    try:
        config = config_of(args)
    except InvalidResource as error:
        print(f"claudeops simulate: {error}", file=sys.stderr)
        return 2
    try:
        uvloop.run(_serve(config))
    except OSError as error:
        print(f"claudeops simulate: cannot listen on {config.host}:{config.port}: {error}", file=sys.stderr)
        return 1
    return 0


def config_of(args: argparse.Namespace) -> SimulatorConfig:
    """The configuration that the arguments say; raises InvalidResource."""
    _check_figures(args)
    return SimulatorConfig(
        host=args.host,
        port=args.port,
        tier=None if args.tier == NO_TIER else args.tier,
        limits=dict(_parse_limit(text) for text in args.limit),
        burst_s=args.burst_s,
        seed=args.seed,
        output_median_tokens=args.output_median,
        output_sigma=args.output_sigma,
        tokens_per_event=args.tokens_per_event,
        speed=args.speed,
        ttft_s=args.ttft_s,
        tokens_per_s=args.tokens_per_s,
        keys=dict(_parse_key(text) for text in args.key),
        admin_keys=dict(_parse_pair(text, "--admin-key", "KEY=ORG") for text in args.admin_key),
        spend_limits_usd=dict(_parse_spend(text) for text in args.spend_limit),
        ramp_growth=args.ramp_growth,
        faults=_read_faults(args.faults),
        transcripts=_read_transcripts(args.transcripts),
        has_fixed_ids=args.fixed_ids,
        compresses=args.compress,
        has_downloadable_files=args.downloadable_files,
        has_ratelimit_headers=not args.no_ratelimit_headers,
        tls_certificate=args.tls_cert,
        tls_key=args.tls_key,
    )


def _check_figures(args: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(args).items() if isinstance(value, int | float)}
    for name in _ABOVE_ZERO:
        if name in given and not given[name] > 0:
            raise InvalidResource("must be more than 0", path="--" + name.replace("_", "-"))
    for name in _FROM_ZERO:
        if name in given and not given[name] >= 0:
            raise InvalidResource("must be at least 0", path="--" + name.replace("_", "-"))
    if args.port > PORT_MAX:
        raise InvalidResource(f"must be at most {PORT_MAX}", path="--port")


def _parse_limit(text: str) -> tuple[str, RateLimits]:
    group, _, figures = text.partition("=")
    parts = figures.split(",")
    if not is_pool(group):
        raise InvalidResource(f"no model group is called {group!r}; there are {', '.join(load_catalogue().groups)}", path="--limit")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise InvalidResource(f"{figures!r} is not RPM,ITPM,OTPM in whole numbers above 0", path="--limit")
    rpm, itpm, otpm = (int(part) for part in parts)
    return group, RateLimits(rpm, itpm, otpm)


def _parse_key(text: str) -> tuple[str, Account]:
    key, _, place = text.rpartition("=")
    organization, _, workspace = place.partition("/")
    if not key or not organization:
        raise InvalidResource("write KEY=ORG or KEY=ORG/WORKSPACE", path="--key")
    return key, Account(organization, workspace or "default")


def _parse_pair(text: str, flag: str, form: str) -> tuple[str, str]:
    name, _, value = text.rpartition("=")
    if not name or not value:
        raise InvalidResource(f"write {form}", path=flag)
    return name, value


def _parse_spend(text: str) -> tuple[str, float]:
    scope, amount = _parse_pair(text, "--spend-limit", "SCOPE=USD")
    if scope not in (USAGE_TIER, CONTRACT, ORGANIZATION) and not scope.startswith(WORKSPACE_PREFIX):
        raise InvalidResource(
            f"there are the scopes {USAGE_TIER}, {CONTRACT}, {ORGANIZATION}, {WORKSPACE_PREFIX}NAME", path="--spend-limit"
        )
    try:
        return scope, float(amount)
    except ValueError as error:
        raise InvalidResource(f"{amount!r} is no amount in USD", path="--spend-limit") from error


def _read_faults(path: str | None) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=tuple[Fault, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidResource(str(error), path="--faults") from error


def _read_transcripts(folder: str | None) -> dict[str, str]:
    if folder is None:
        return {}
    try:
        found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(folder).iterdir()) if path.suffix == ".sse"}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidResource(str(error), path="--transcripts") from error
    Library(found)
    return found


async def _serve(config: SimulatorConfig) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    async with Simulator(config) as simulator:
        print(f"simulating the Claude API at {simulator.url}", flush=True)
        await done.wait()
