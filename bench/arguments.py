"""What every comparison takes on its command line."""

from __future__ import annotations

import argparse


def comparison_parser(description: str | None) -> argparse.ArgumentParser:
    """``--rounds`` of all candidates in turn, and ``--quick``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a second each and nothing recorded: does everything run?")
    return parser
