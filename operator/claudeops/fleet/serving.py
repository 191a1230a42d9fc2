"""What a server of ours speaks TLS with."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from claudeops.fleet.certificates import Pair


class ServingContext:
    """A server's ``SSLContext`` that takes a new pair while it serves: handshakes from then on use it."""

    def __init__(self) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded: Pair | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether there is a pair to serve with."""
        return self._loaded is not None

    def load(self, pair: Pair) -> bool:
        """Takes a pair; False when it is the one in use. Raises ``ssl.SSLError`` when key and certificate do not fit."""
        if pair == self._loaded:
            return False
        # The context reads files only.
        with tempfile.TemporaryDirectory(prefix="claudeops-") as folder:
            path = Path(folder, "pair.pem")
            path.touch(mode=0o600)
            path.write_text(pair.certificate + pair.key)
            self.context.load_cert_chain(path)
        self._loaded = pair
        return True
