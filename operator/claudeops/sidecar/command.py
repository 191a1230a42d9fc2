"""``claudeops sidecar``: its flags, each also an environment variable."""

from __future__ import annotations

import argparse
import os
from typing import Final

from claudeops.errors import InvalidResource

FLAGS: Final = {
    "config": ("CLAUDEOPS_CONFIG", "/etc/claudeops/config/proxy.json", "PATH", "configuration document; may appear later"),
    "key-file": ("CLAUDEOPS_KEY_FILE", "/etc/claudeops/key/api-key", "PATH", "file that holds the API key; may appear later"),
    "identity-file": (
        "CLAUDEOPS_IDENTITY_FILE",
        "/var/run/secrets/claudeops-identity/token",
        "PATH",
        "identity token for keyless workloads, read anew for each exchange at the API",
    ),
    "proxy-login-file": ("CLAUDEOPS_PROXY_LOGIN_FILE", "", "PATH", "user:password of upstream.proxyUrl, read anew for each connection"),
    "token-file": ("CLAUDEOPS_TOKEN_FILE", "/var/run/secrets/claudeops/token", "PATH", "token for the exchange, read anew for each report"),
    "instance": ("CLAUDEOPS_INSTANCE", "", "UID", "name of this proxy in the exchange: the pod's uid"),
    "listen": ("CLAUDEOPS_LISTEN", "127.0.0.1:4141", "HOST:PORT", "where the Claude API is served"),
    "admin": ("CLAUDEOPS_ADMIN", "0.0.0.0:4142", "HOST:PORT", "where /healthz, /readyz and /metrics are served"),
    "state": ("CLAUDEOPS_STATE", "127.0.0.1:4143", "HOST:PORT", "where /state is served"),
    "grace": ("CLAUDEOPS_GRACE", "590", "SECONDS", "how long running requests may take to finish after SIGTERM"),
    "log-level": ("CLAUDEOPS_LOG_LEVEL", "info", "LEVEL", "debug, info, warning or error"),
}
"""Flag → environment variable, default, metavar, help."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    for flag, (variable, default, metavar, text) in FLAGS.items():
        value = os.environ.get(variable) or default
        parser.add_argument(f"--{flag}", default=value, metavar=metavar, help=f"{text} (${variable}; default {default or 'none'})")


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM; 0 after a drain. Raises InvalidResource for flags that cannot be used, or an address that cannot be had."""
    from claudeops.sidecar.lifecycle import Settings, run_sidecar

    if args.log_level not in ("debug", "info", "warning", "error"):
        raise InvalidResource(f"{args.log_level!r} is no level: debug, info, warning or error", path="--log-level")
    return run_sidecar(
        Settings(
            config_path=args.config,
            key_path=args.key_file,
            token_path=args.token_file,
            instance=args.instance or os.environ.get("HOSTNAME") or "unnamed",
            listen=parse_address(args.listen, "--listen"),
            admin=parse_address(args.admin, "--admin"),
            state=parse_address(args.state, "--state"),
            grace_s=_parse_seconds(args.grace),
            log_level=args.log_level,
            identity_path=args.identity_file,
            proxy_login_path=args.proxy_login_file,
        )
    )


def parse_address(text: str, flag: str) -> tuple[str, int]:
    """``127.0.0.1:4141``, ``[::1]:4141`` or ``:4141`` (every address). Raises InvalidResource."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise InvalidResource(f"{text!r} is no address: write HOST:PORT", path=flag)
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 86_400.0:
        raise InvalidResource(f"{text!r} is no number of seconds between 0 and 86400", path="--grace")
    return seconds
