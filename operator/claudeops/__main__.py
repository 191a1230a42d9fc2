"""``python -m claudeops`` is ``claudeops``."""

from __future__ import annotations

import sys

from claudeops.cli import main

sys.exit(main())
