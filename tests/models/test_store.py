from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_models import CONTENTS, FP32, INT8, SMALL, VOICES
from support import REPOSITORY

from voiced.errors import StoreError
from voiced.models.published import KOKORO
from voiced.models.store import (
    FileState,
    ModelFolder,
    command_folder,
    find,
    models_folder,
    search_folders,
    service_folder,
)

NOBODY = 65534


def put(root: Path, *names: str) -> ModelFolder:
    folder = ModelFolder(root, SMALL)
    folder.path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder.path / name).write_bytes(CONTENTS[name])
    return folder


@contextmanager
def without_rights(*folders: Path) -> Iterator[None]:
    """Let nobody into the folders, root neither."""
    for folder in folders:
        folder.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o755)


def found(*roots: Path) -> str | None:
    """Return the variant that is found, and where: `FOLDER/VARIANT`."""
    installed = find(SMALL, folders=roots)
    if installed is None:
        return None
    voices, model = installed.paths
    assert voices == model.with_name(VOICES)
    return f"{model.parent.parent.name}/{installed.variant}"


def test_the_best_variant_is_found(tmp_path: Path) -> None:
    root = tmp_path / "a"
    assert found(root) is None
    put(root, INT8)
    assert found(root) is None
    put(root, VOICES)
    assert found(root) == "a/int8"
    put(root, FP32)
    assert found(root) == "a/fp32"


def test_the_first_folder_that_has_all_is_taken(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    put(b, FP32, VOICES)
    put(a, INT8)
    assert found(a, b) == "b/fp32"
    put(a, VOICES)
    assert found(a, b) == "a/int8"


def test_a_file_of_another_size_is_not_found(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, INT8, VOICES)
    (folder.path / FP32).write_bytes(CONTENTS[FP32][:-1])
    assert found(folder.root) == "a/int8"
    (folder.path / INT8).rename(folder.path / f"{INT8}.part")
    assert found(folder.root) is None


def test_a_folder_that_may_not_be_looked_into_has_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a", FP32, VOICES)
    with without_rights(tmp_path / "a"):
        assert found(tmp_path / "a") is None


async def test_an_event_loop_may_look(tmp_path: Path) -> None:
    put(tmp_path / "a", FP32, VOICES)
    assert found(tmp_path / "a") == "a/fp32"
    find(SMALL)


def test_a_service_has_its_state_folder_and_a_user_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    user, state = tmp_path / "data" / "voiced" / "models", tmp_path / "state"
    assert models_folder({"STATE_DIRECTORY": "/a:/b"}) == Path("/a/models")
    assert models_folder({}) == user
    assert service_folder(state) is None
    assert command_folder({}, state=state) == user
    assert search_folders({}, state=state) == (user,)
    state.symlink_to(tmp_path / "private" / "nobody may look here")
    assert service_folder(state) == state / "models"
    assert command_folder({}, state=state) == state / "models"
    assert search_folders({}, state=state) == (user, state / "models")
    environ = {"STATE_DIRECTORY": str(state)}
    assert search_folders(environ, state=state) == (state / "models",)
    assert command_folder({"STATE_DIRECTORY": "/a"}, state=state) == Path("/a/models")


def test_a_folder_that_may_not_be_written_names_the_cure(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, VOICES)
    with without_rights(folder.root):
        for act in (folder.remove, lambda: folder.check(SMALL.shared[0])):
            with pytest.raises(StoreError, match=r"Permission denied; run it with sudo.*--folder"):
                act()
        with pytest.raises(StoreError, match="run it with sudo"), folder.lock():
            pass
    assert found(folder.root) == "a/fp32"


def test_a_check_reads_every_byte(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, INT8)
    (folder.path / f"{VOICES}.part").touch()
    damaged = bytearray(CONTENTS[FP32])
    damaged[-1] ^= 1
    (folder.path / FP32).write_bytes(damaged)
    fp32, int8, voices = SMALL.all_files()
    assert folder.check(fp32) is FileState.WRONG_CHECKSUM
    assert folder.look(fp32) is FileState.INSTALLED
    assert folder.check(int8) is FileState.INSTALLED
    assert folder.check(voices) is FileState.UNFINISHED
    (folder.path / INT8).write_bytes(b"")
    (folder.path / f"{VOICES}.part").unlink()
    assert folder.check(int8) is FileState.WRONG_SIZE
    assert folder.check(voices) is FileState.MISSING


def test_the_voices_go_with_the_last_variant(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, INT8, VOICES)
    (folder.path / f"{INT8}.part").touch()
    assert folder.remove("int8") == [INT8, f"{INT8}.part"]
    assert found(folder.root) == "a/fp32"
    assert folder.remove("int8") == []
    assert folder.remove("fp32") == [FP32, VOICES]
    assert folder.remove() == []


def test_all_of_a_model_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, INT8, VOICES)
    (folder.path / "notes.txt").touch()
    assert folder.remove() == [FP32, INT8, VOICES]
    assert {path.name for path in folder.path.iterdir()} == {".lock", "notes.txt"}


def test_to_remove_what_never_was_makes_no_folder(tmp_path: Path) -> None:
    assert ModelFolder(tmp_path / "a", SMALL).remove() == []
    assert not (tmp_path / "a").exists()


def test_nobody_removes_what_is_being_pulled(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", FP32, VOICES)
    with folder.lock(), pytest.raises(StoreError, match="Another command"):
        folder.remove()
    assert found(folder.root) == "a/fp32"


def test_what_is_published_is_whole_and_documented() -> None:
    page = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    assert KOKORO.url.startswith("https://")
    assert KOKORO.url in page
    for file in KOKORO.all_files():
        assert len(bytes.fromhex(file.checksum)) == 32
        for value in (file.name, f"{file.size_bytes:,}", file.checksum):
            assert value in page, value
    for variant in KOKORO.variants:
        assert f"`{variant}`" in page
