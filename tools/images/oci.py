"""OCI image archives: what `ctr images import`, `kind load image-archive` and `docker load` read."""

import io
import json
import platform
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .layer import Layer, digest_of

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
PREFIX = "application/vnd.oci.image"
# A name without a host means this prefix to every container engine; nothing is ever fetched from it.
IMPLIED_PREFIX = "docker" + ".io/library/"


@dataclass(frozen=True)
class ImageSettings:
    """What a container of the image starts as."""

    entrypoint: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = "65532:65532"


@dataclass(frozen=True)
class Image:
    """An image that can be put into an archive; its digest changes with anything in it."""

    name: str
    layers: tuple[Layer, ...]
    settings: ImageSettings

    @property
    def full_name(self) -> str:
        """The name by which a container engine knows it."""
        return IMPLIED_PREFIX + self.name

    def manifest(self) -> bytes:
        """The OCI manifest."""
        config = self.config()
        layers = [{"mediaType": f"{PREFIX}.layer.v1.tar", "digest": one.digest, "size": one.size_bytes} for one in self.layers]
        return _document(
            {
                "schemaVersion": 2,
                "mediaType": f"{PREFIX}.manifest.v1+json",
                "config": {"mediaType": f"{PREFIX}.config.v1+json", "digest": digest_of(config), "size": len(config)},
                "layers": layers,
            }
        )

    def config(self) -> bytes:
        """The OCI configuration."""
        settings = self.settings
        container = {"Entrypoint": list(settings.entrypoint), "Env": list(settings.env), "User": settings.user, "WorkingDir": "/"}
        return _document(
            {
                "architecture": architecture(),
                "os": "linux",
                "config": container,
                "rootfs": {"type": "layers", "diff_ids": [one.digest for one in self.layers]},
                "history": [{"created_by": "tools/images"} for _ in self.layers],
            }
        )

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.manifest())


def architecture() -> str:
    """This machine's, by OCI's name."""
    return MACHINES.get(platform.machine(), platform.machine())


def write_archive(images: Sequence[Image], out: Path, *, known: Collection[str] = ()) -> None:
    """Write one archive that holds all the images; layers that they share are in it once, those with a `known` digest not at all."""
    documents = {digest_of(text): text for image in images for text in (image.manifest(), image.config())}
    layers = {layer.digest: layer for image in images for layer in image.layers if layer.digest not in known}
    draft = out.with_name(f".{out.name}.draft")
    with tarfile.open(draft, "w") as tar:
        _add(tar, "oci-layout", _document({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _index(images))
        for digest, text in documents.items():
            _add(tar, _blob(digest), text)
        for digest, layer in layers.items():
            with layer.path.open("rb") as handle:
                member = tarfile.TarInfo(_blob(digest))
                member.size, member.mode = layer.size_bytes, 0o644
                tar.addfile(member, handle)
    draft.rename(out)


def _index(images: Sequence[Image]) -> bytes:
    manifests = []
    for image in images:
        names = {"io.containerd.image.name": image.full_name, "org.opencontainers.image.ref.name": image.name.rsplit(":", 1)[-1]}
        text = image.manifest()
        manifests.append(
            {
                "mediaType": f"{PREFIX}.manifest.v1+json",
                "digest": digest_of(text),
                "size": len(text),
                "platform": {"architecture": architecture(), "os": "linux"},
                "annotations": names,
            }
        )
    return _document({"schemaVersion": 2, "manifests": manifests})


def _add(tar: tarfile.TarFile, name: str, text: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text), 0o644
    tar.addfile(member, io.BytesIO(text))


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _document(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
