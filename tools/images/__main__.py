"""`python -m tools.images OUT.tar`: all images in one OCI archive, for a cluster of your own."""

import argparse
import sys
from pathlib import Path

from tools.localcluster.errors import LocalClusterError
from tools.localcluster.preflight import install_packages
from tools.localcluster.progress import Progress

from .oci import write_archive
from .recipe import build_images


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("out", type=Path, help="the archive to write, for `kind load image-archive`, `ctr images import` or `docker load`")
    out: Path = parser.parse_args().out
    progress = Progress()
    try:
        install_packages(progress)
        images = build_images(progress)
        write_archive(images, out)
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for image in images:
        print(f"{image.name} {image.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
