"""Where every process that `claudeops run` starts begins: ``python -m claudeops.standalone.entry FOLDER sidecar|simulate FLAGS``.

Its standard input is a pipe from the process that started it. When that one is gone, however it went, the pipe ends, and so does this
process, in good order; the files that it was given go with it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from claudeops.errors import ClaudeOpsError

MODULES: Final = {"sidecar": "claudeops.sidecar.command", "simulate": "claudeops.simulator.command"}


def main() -> int:
    """Runs the command. 1, with the reason as the last line on stderr, when it cannot."""
    folder, name, *flags = sys.argv[1:]
    orphaned = threading.Event()
    threading.Thread(target=_watch, args=(orphaned,), name="parent", daemon=True).start()
    module = importlib.import_module(MODULES[name])
    parser = argparse.ArgumentParser(prog=f"claudeops {name}")
    module.configure(parser)
    try:
        return int(module.run(parser.parse_args(flags)))
    except ClaudeOpsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        if orphaned.is_set():
            _remove(Path(folder))


def _watch(orphaned: threading.Event) -> None:
    """Nothing is ever written to the pipe: a read ends only when the other side is gone."""
    while os.read(0, 1):
        pass
    orphaned.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _remove(folder: Path) -> None:
    """The last one to go also removes the folder above."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


if __name__ == "__main__":
    sys.exit(main())
