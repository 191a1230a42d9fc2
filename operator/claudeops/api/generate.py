"""``python -m claudeops.api.generate [--check] DIR``: write the CRDs, or say whether the written ones are still true."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from claudeops.api.crd import DEFINITIONS, GROUP, build_crd

_HEAD = "# Generated from claudeops.api by `python -m claudeops.api.generate crds`; edit the models, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """Indents list items below their key, and never writes anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


@cache
def render() -> Mapping[str, str]:
    """File name → YAML, for every kind."""
    return {
        f"{GROUP}_{definition.plural}.yaml": _HEAD + yaml.dump(build_crd(definition), Dumper=_Dumper, sort_keys=False, width=130)
        for definition in DEFINITIONS
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0: written, or nothing to write. 1: with ``--check``, files that differ."""
    parser = argparse.ArgumentParser(prog="python -m claudeops.api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    parser.add_argument("folder", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    stale = {name: text for name, text in render().items() if _read(options.folder / name) != text}
    if options.check:
        for name in stale:
            sys.stderr.write(f"{options.folder / name} differs from the models: run `python -m claudeops.api.generate {options.folder}`\n")
        return 1 if stale else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in stale.items():
        (options.folder / name).write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
