"""``claudeops sidecar``: its flags, each also an environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from claudeops.errors import InvalidResource

if TYPE_CHECKING:
    import argparse

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
        about = f"{text} (${variable}; default {default or 'none'})"
        parser.add_argument(f"--{flag}", default=_from_environment(flag), metavar=metavar, help=about)


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM; 0 after a drain. Raises InvalidResource for flags that cannot be used, or an address that cannot be had."""
    return _serve({flag: getattr(args, flag.replace("-", "_")) for flag in FLAGS})


def run_without_flags() -> int:
    """The same with every setting from the environment, as in a pod."""
    return _serve({flag: _from_environment(flag) for flag in FLAGS})


def _from_environment(flag: str) -> str:
    variable, default, *_ = FLAGS[flag]
    return os.environ.get(variable) or default


def _serve(values: Mapping[str, str]) -> int:
    """With the value of each flag."""
    from claudeops.sidecar.lifecycle import Settings, run_sidecar

    if values["log-level"] not in ("debug", "info", "warning", "error"):
        raise InvalidResource(f"{values['log-level']!r} is no level: debug, info, warning or error", path="--log-level")
    return run_sidecar(
        Settings(
            config_path=values["config"],
            key_path=values["key-file"],
            token_path=values["token-file"],
            instance=values["instance"] or os.environ.get("HOSTNAME") or "unnamed",
            listen=parse_own_address(values["listen"], "--listen"),
            admin=parse_address(values["admin"], "--admin"),
            state=parse_own_address(values["state"], "--state"),
            grace_s=_parse_seconds(values["grace"]),
            log_level=values["log-level"],
            identity_path=values["identity-file"],
            proxy_login_path=values["proxy-login-file"],
        )
    )


def parse_address(text: str, flag: str) -> tuple[str, int]:
    """``127.0.0.1:4141``, ``[::1]:4141`` or ``:4141`` (every address). Raises InvalidResource."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise InvalidResource(f"{text!r} is no address: write HOST:PORT", path=flag)
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def parse_own_address(text: str, flag: str) -> tuple[str, int]:
    """One that nobody outside of the pod can reach: whoever reaches the API's listener uses the key. Raises InvalidResource."""
    host, port = parse_address(text, flag)
    if host not in ("localhost", "::1") and not (host.startswith("127.") and host.replace(".", "").isdecimal()):
        message = f"{text!r} can be reached from outside, where nobody asks who calls: write 127.0.0.1:{port}, or another loopback address"
        raise InvalidResource(message, path=flag)
    return host, port


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 86_400.0:
        raise InvalidResource(f"{text!r} is no number of seconds between 0 and 86400", path="--grace")
    return seconds
