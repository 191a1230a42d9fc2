"""`python -m tools.images [OUT.tar]`: all images in one OCI archive, for a cluster of your own."""

import argparse
import sys
from pathlib import Path

from tools.localcluster.errors import LocalClusterError
from tools.localcluster.preflight import install_packages
from tools.localcluster.progress import Progress

from .oci import write_archive
from .recipe import build_images

DEFAULT_OUT = Path("dist/claudeops-images.tar")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    about = "the archive to write (default: %(default)s), for `kind load image-archive`, `ctr images import` or `docker load`"
    parser.add_argument("out", type=Path, nargs="?", default=DEFAULT_OUT, help=about)
    out: Path = parser.parse_args().out
    progress = Progress()
    try:
        install_packages(progress)
        images = build_images(progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_archive(images, out)
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for image in images:
        print(f"{image.name} {image.digest}")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
