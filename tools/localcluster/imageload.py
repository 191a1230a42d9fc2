"""Putting the images into the box's containerd: those that are new, over its own socket."""

import json
from collections.abc import Sequence

from tools.images.oci import Image, write_archive

from .box import enter
from .command import run
from .imagestore import describe
from .layout import CONTAINERD_SOCKET, Layout
from .progress import Progress


def load_images(layout: Layout, images: Sequence[Image], progress: Progress) -> list[str]:
    """Import what the box does not have yet; the names of what was imported. containerd must be up."""
    record = layout.image_record
    has: dict[str, list[str]] = json.loads(record.read_text()) if record.exists() else {}
    new = [image for image in images if has.get(image.name, [""])[0] != image.digest]
    if not new:
        return []
    with progress.step(f"images loaded ({', '.join(image.name for image in new)})"):
        archive = layout.box / "images.tar"
        write_archive(new, archive, known={layer for _, *layers in has.values() for layer in layers})
        run(enter(layout, [*ctr(), "images", "import", archive]))
        archive.unlink()
    record.write_text(json.dumps(has | describe(new)))
    return [image.name for image in new]


def ctr() -> list[str]:
    """containerd's own client, pointed at the kubelet's images."""
    return ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
