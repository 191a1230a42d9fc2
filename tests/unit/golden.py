"""Golden files: what is rendered, kept beside the test, and compared as text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def check_golden(path: Path, rendered: Any) -> None:
    """Compares JSON with the file; CLAUDEOPS_WRITE_GOLDEN=1 writes it instead, for a person to review in the diff."""
    text = json.dumps(rendered, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("CLAUDEOPS_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing: write it with CLAUDEOPS_WRITE_GOLDEN=1 and review it"
    assert text == path.read_text(encoding="utf-8")
