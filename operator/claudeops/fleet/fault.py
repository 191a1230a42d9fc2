"""The control plane's one place where a fault of our own is caught: one object, or one decision, must not end all the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def contain(logger: logging.Logger, message: str) -> Iterator[None]:
    """Ends the block, not the process, where the block raises what nobody foresaw; the log has ``message`` and the traceback.

    For the bodies of outermost loops only. Cancellation and the interpreter's own exits pass.
    """
    try:
        yield
    except Exception:
        logger.exception(message)
