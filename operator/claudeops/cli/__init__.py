"""``claudeops …``: one program for every plane."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from claudeops.errors import ClaudeOpsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except ClaudeOpsError as error:
        print(f"claudeops {words[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    # In a pod all settings are in the environment: argparse would be 0.8 MiB of a proxy, and a tenth of its start.
    if words == ["sidecar"]:
        from claudeops.sidecar.command import run_without_flags

        return run_without_flags()
    from claudeops.cli.command_line import run_words

    return run_words(words)
