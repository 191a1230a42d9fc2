"""Files that change under the proxy as kubelet changes them: a swap of the ``..data`` symlink, and other ways."""

from __future__ import annotations

import os
import pathlib

import msgspec
import pytest

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey, encode_config
from claudeops.sidecar.config import MAX_FILE_BYTES, MAX_SECRET_BYTES, ConfigFile, ConfigHolder, KeyFile, TokenFile, WatchedFile

CONFIG = ProxyConfig(
    revision=1,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name="claude-sonnet-5-5"),
)


class Volume:
    """A ConfigMap or Secret volume as kubelet lays it out."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.folder = folder
        self.path = folder / name
        self._turn = 0

    def publish(self, content: bytes | None) -> None:
        """One update: a new folder, an atomic swap of ..data, the old folder removed."""
        self._turn += 1
        version = self.folder / f"..2026_{self._turn}"
        version.mkdir()
        if content is not None:
            (version / self.path.name).write_bytes(content)
        swap = self.folder / "..data_tmp"
        swap.symlink_to(version.name)
        os.replace(swap, self.folder / "..data")
        if not self.path.is_symlink():
            self.path.symlink_to(f"..data/{self.path.name}")


def revision(number: int) -> bytes:
    return encode_config(msgspec.structs.replace(CONFIG, revision=number))


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> Volume:
    return Volume(tmp_path, "proxy.json")


@pytest.fixture
def holder() -> ConfigHolder:
    return ConfigHolder(lambda config: None)


def test_each_swap_of_the_volume_is_seen_at_the_next_look(volume: Volume, holder: ConfigHolder) -> None:
    file = ConfigFile(str(volume.path), holder)
    file.poll()
    assert holder.current is None and "cannot read" in holder.error
    for number in (1, 2, 3):
        volume.publish(revision(number))
        file.poll()
        assert (holder.revision, holder.error, holder.source) == (number, "", "file")


def test_a_bad_document_a_missing_key_and_an_older_revision_leave_the_last_good_one(volume: Volume, holder: ConfigHolder) -> None:
    file = ConfigFile(str(volume.path), holder)
    volume.publish(revision(5))
    file.poll()
    for bad in (b"{", revision(6)[:-1], None, b"x" * (MAX_FILE_BYTES + 1), b""):
        volume.publish(bad)
        file.poll()
        assert holder.revision == 5 and holder.error
    volume.publish(revision(4))
    file.poll()
    assert holder.revision == 5 and holder.error == ""
    volume.publish(revision(6))
    file.poll()
    assert holder.revision == 6


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    file = WatchedFile(str(path))
    assert file.poll() == b"one"
    assert file.poll() is None
    path.write_bytes(b"more")
    assert file.poll() == b"more"


def test_an_unreadable_file_is_said_once_and_read_when_it_is_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    file = WatchedFile(str(path))
    assert isinstance(file.poll(), FileNotFoundError)
    assert file.poll() is None
    path.mkdir()
    assert isinstance(file.poll(), OSError)
    path.rmdir()
    path.write_bytes(b"one")
    assert file.poll() == b"one"


def test_a_fifo_does_not_stop_the_proxy(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert isinstance(WatchedFile(str(tmp_path / "file")).poll(), OSError)


def test_a_new_key_is_used_and_a_bad_or_vanished_one_leaves_the_last_good_one(tmp_path: pathlib.Path) -> None:
    keys: list[str] = []
    volume = Volume(tmp_path, "api-key")
    file = KeyFile(str(volume.path), keys.append)
    file.poll()
    assert keys == [] and "cannot read" in file.error
    volume.publish(b"sk-one\n")
    file.poll()
    assert keys == ["sk-one"] and file.error == ""
    for bad in (b"", b"two\nlines", None, b"x" * (MAX_SECRET_BYTES + 1)):
        volume.publish(bad)
        file.poll()
        assert keys == ["sk-one"] and file.error
    volume.publish(b"sk-two")
    file.poll()
    assert keys == ["sk-one", "sk-two"] and file.error == ""


def test_the_token_is_what_the_file_holds_now(tmp_path: pathlib.Path) -> None:
    volume = Volume(tmp_path, "token")
    token = TokenFile(str(volume.path))
    with pytest.raises(InvalidResource, match="cannot read the token"):
        token.read()
    for text in (b"one", b"two\n"):
        volume.publish(text)
        assert token.read() == text.decode().strip()
