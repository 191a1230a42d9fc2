"""What can be typed behind ``claudeops``.

Each command lives in its own plane and is imported only when it is asked for, so that a sidecar's image needs neither Kopf nor the
Kubernetes client and ``--help`` needs nothing at all.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from claudeops import __version__


class Command(NamedTuple):
    """Where a command lives, what it is for, and the extra that brings its dependencies."""

    module: str
    summary: str
    extra: str


COMMANDS = {
    "controller": Command("claudeops.controller.command", "reconcile ClaudeWorkloads and share quotas out to their proxies", "controller"),
    "injector": Command(
        "claudeops.controller.injector_command", "serve the webhook that puts the proxy beside labelled pods", "controller"
    ),
    "run": Command("claudeops.standalone.command", "do the same on this machine without Kubernetes: manifests in, proxies out", "cli"),
    "sidecar": Command("claudeops.sidecar.command", "proxy one pod's calls to the Claude API", "sidecar"),
    "simulate": Command("claudeops.simulator.command", "serve a strict Claude API for tests and demos", "sidecar"),
}


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The whole parser; only the ``chosen`` command's own flags are filled in, since that needs its dependencies."""
    parser = argparse.ArgumentParser(
        prog="claudeops",
        description="Declare how a workload may use Claude; Kubernetes keeps it fast, inside its quota and up.",
        epilog='`claudeops COMMAND --help` explains one command. Shell completion: eval "$(register-python-argcomplete claudeops)"',
    )
    parser.add_argument("--version", action="version", version=f"claudeops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.summary, description=command.summary[0].upper() + command.summary[1:] + ".")
        if name == chosen:
            importlib.import_module(command.module).configure(sub)
    return parser


def run_words(words: Sequence[str]) -> int:
    """Runs the command that was typed; its exit code. Ends the process after help (0) and wrong usage (2)."""
    typed = _completed_words() or words
    chosen = next((word for word in typed if not word.startswith("-")), None)
    try:
        parser = build_parser(chosen)
    except ModuleNotFoundError as error:
        return _explain_missing(str(chosen), error)
    _complete(parser)
    parsed = parser.parse_args(words)
    return int(importlib.import_module(COMMANDS[parsed.command].module).run(parsed))


def _completed_words() -> list[str]:
    """During shell completion what was typed is in the environment, not in ``sys.argv``."""
    return os.environ.get("COMP_LINE", "").split()[1:] if "_ARGCOMPLETE" in os.environ else []


def _explain_missing(command: str, error: ModuleNotFoundError) -> int:
    """A missing extra is the user's to install; a missing module of our own is a bug and stays one."""
    if error.name is None or error.name.split(".")[0] == "claudeops":
        raise error
    extra = COMMANDS[command].extra
    print(f"claudeops {command}: the package {error.name!r} is missing. Install it with: pip install 'claudeops[{extra}]'", file=sys.stderr)
    return 1


def _complete(parser: argparse.ArgumentParser) -> None:
    try:
        argcomplete = importlib.import_module("argcomplete")
    except ModuleNotFoundError:
        return
    argcomplete.autocomplete(parser)
