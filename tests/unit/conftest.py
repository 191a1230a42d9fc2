"""Unit tests read no files of the machine."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_certificates() -> Iterator[None]:
    """The system's certificates take tens of milliseconds to read, for each TLS context; nothing here verifies by them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        patch.setenv("SSL_CERT_DIR", os.devnull)
        yield
