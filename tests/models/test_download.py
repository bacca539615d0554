"""Pulls from a real server that misbehaves, and from a folder."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPMessage
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
from small_models import (
    CONTENTS,
    FP32,
    INT8,
    SMALL,
    VOICES,
    Answer,
    Mirror,
    folder_of_files,
    running_mirror,
)
from support import REPOSITORY, eventually

from voiced.errors import DownloadFailed, FileRejected, StoreError
from voiced.models.download import MARGIN_BYTES, TRIES, pull
from voiced.models.published import PublishedFile
from voiced.models.source import HttpSource, _Redirects, pick
from voiced.models.store import InstalledModel, ModelFolder, find

PLENTY = 1 << 40


@dataclass
class Puller:
    """Pulls the small model, and writes down what it is told meanwhile."""

    root: Path
    source: str | None = None
    free: int = PLENTY
    waits: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ready: list[tuple[str, bool]] = field(default_factory=list)
    sizes: list[tuple[str, int]] = field(default_factory=list)
    on_progress: Callable[[], None] = lambda: None

    @property
    def folder(self) -> ModelFolder:
        return ModelFolder(self.root, SMALL)

    def pull(self, variant: str = "fp32") -> None:
        pull(
            self.folder,
            variant,
            source=pick(self.source, SMALL.url),
            watcher=self,
            sleep=self.waits.append,
            free=lambda _: self.free,
        )

    def at(self, file: PublishedFile, size_bytes: int) -> None:
        self.sizes.append((file.name, size_bytes))
        self.on_progress()

    def done(self, file: PublishedFile, *, was_here: bool) -> None:
        self.ready.append((file.name, was_here))

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def leave_part(self, content: bytes, name: str = FP32) -> Path:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        part = self.folder.path / f"{name}.part"
        part.write_bytes(content)
        return part

    def files(self) -> dict[str, bytes]:
        paths = self.folder.path.iterdir()
        return {path.name: path.read_bytes() for path in paths if path.name != ".lock"}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "*")
    with running_mirror() as made:
        yield made


@pytest.fixture
def puller(mirror: Mirror, tmp_path: Path) -> Puller:
    return Puller(tmp_path / "models", mirror.url)


def only(*names: str) -> dict[str, bytes]:
    return {name: CONTENTS[name] for name in names}


def test_a_pull_brings_the_variant_and_the_voices(puller: Puller, mirror: Mirror) -> None:
    puller.pull("int8")
    assert puller.files() == only(INT8, VOICES)
    assert mirror.asked == [(f"/{VOICES}", ""), (f"/{INT8}", "")]
    assert puller.ready == [(VOICES, False), (INT8, False)]
    assert puller.sizes[-1] == (INT8, len(CONTENTS[INT8]))
    path = puller.folder.path
    found = find(SMALL, folders=[puller.root])
    assert found == InstalledModel("int8", (path / VOICES, path / INT8))


def test_what_is_here_and_right_is_not_asked_for_again(puller: Puller, mirror: Mirror) -> None:
    puller.pull()
    mirror.asked.clear()
    puller.ready.clear()
    puller.pull()
    assert mirror.asked == []
    assert puller.ready == [(VOICES, True), (FP32, True)]


def test_a_file_that_was_damaged_on_the_disk_is_mended(puller: Puller, mirror: Mirror) -> None:
    puller.pull()
    (puller.folder.path / FP32).write_bytes(bytes(len(CONTENTS[FP32])))
    (puller.folder.path / VOICES).write_bytes(b"short")
    puller.pull()
    assert puller.files() == only(FP32, VOICES)


def test_everybody_may_read_the_files_whatever_the_umask(puller: Puller) -> None:
    before = os.umask(0o077)
    try:
        puller.pull()
    finally:
        os.umask(before)
    path = puller.folder.path
    modes = [p.stat().st_mode & 0o777 for p in (puller.root, path, path / FP32, path / VOICES)]
    assert modes == [0o755, 0o755, 0o644, 0o644]


def test_a_break_is_gone_on_from(puller: Puller, mirror: Mirror) -> None:
    mirror.script = [Answer(), Answer(cut_at=50_000), Answer(cut_at=100_000)]
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == ["", "bytes=50000-", "bytes=150000-"]
    assert puller.waits == [1, 2]
    assert len(puller.notes) == 2


def test_a_server_that_cannot_go_on_begins_anew(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(has_ranges=False)
    mirror.script = [Answer(), Answer(cut_at=50_000, has_ranges=False)]
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == ["", "bytes=50000-"]


@pytest.mark.parametrize(
    "said", ["bytes 7-199999/200000", "bytes */200000", "items 50000-199999/200000", "bytes 5"]
)
def test_another_part_than_was_asked_for_is_not_taken(
    puller: Puller, mirror: Mirror, said: str
) -> None:
    puller.leave_part(CONTENTS[FP32][:50_000])
    mirror.script = [Answer(), Answer(content_range=said)]
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == ["bytes=50000-", ""]


def test_a_part_that_nobody_asked_for_is_refused(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(status=206, content_range="bytes 5-9/10", body=b"12345")
    with pytest.raises(StoreError, match="another part"):
        puller.pull()
    assert puller.files() == {f"{VOICES}.part": b""}


@pytest.mark.parametrize("length", [29_999, 30_001, 0])
def test_an_announced_length_that_is_another_s_is_named(
    puller: Puller, mirror: Mirror, length: int
) -> None:
    mirror.always = Answer(length=length, body=CONTENTS[VOICES][:length])
    with pytest.raises(FileRejected, match=rf"{VOICES} of {length:,} bytes.* 30,000\."):
        puller.pull()
    assert len(mirror.asked) == 1
    assert puller.waits == []


def test_a_range_of_a_file_of_another_size_is_named(puller: Puller, mirror: Mirror) -> None:
    part = puller.leave_part(CONTENTS[FP32][:50_000])
    mirror.script = [Answer(), Answer(content_range="bytes 50000-199999/200001")]
    with pytest.raises(FileRejected, match="200,001 bytes"):
        puller.pull()
    assert part.read_bytes() == CONTENTS[FP32][:50_000]


def test_a_file_that_ends_before_the_part_does_is_named(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(CONTENTS[FP32][:50_000])
    mirror.script = [Answer(), Answer(status=416)]
    with pytest.raises(FileRejected, match="shorter fp32"):
        puller.pull()


def test_more_bytes_than_published_are_not_taken(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(body=CONTENTS[VOICES] + b"!", is_length_told=False)
    with pytest.raises(FileRejected, match="more than the 30,000 bytes"):
        puller.pull()
    assert puller.files() == {}


def test_a_length_that_is_not_told_is_no_trouble(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(is_length_told=False)
    mirror.script = [Answer(is_length_told=False, cut_at=9)]
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(VOICES) == ["", "bytes=9-"]


def test_wrong_bytes_are_deleted_and_named(puller: Puller, mirror: Mirror) -> None:
    mirror.script = [Answer(), Answer(body=bytes(len(CONTENTS[FP32])))]
    with pytest.raises(FileRejected, match=r"checksum is wrong.*deleted"):
        puller.pull()
    assert puller.files() == only(VOICES)
    assert find(SMALL, folders=[puller.root]) is None


def test_a_part_of_another_file_is_thrown_away(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(bytes(50_000))
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == ["bytes=50000-", ""]
    assert "of another file" in puller.notes[0]


def test_a_part_of_another_file_is_the_only_second_try(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(bytes(50_000))
    mirror.script = [Answer(), Answer(), Answer(body=bytes(len(CONTENTS[FP32])))]
    with pytest.raises(FileRejected, match="checksum is wrong"):
        puller.pull()
    assert mirror.ranges(FP32) == ["bytes=50000-", ""]


def test_a_server_s_own_wrong_bytes_are_not_asked_for_twice(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(CONTENTS[FP32][:50_000])
    wrong = Answer(body=bytes(len(CONTENTS[FP32])), has_ranges=False)
    mirror.script = [Answer(), wrong]
    with pytest.raises(FileRejected, match="checksum is wrong"):
        puller.pull()
    assert mirror.ranges(FP32) == ["bytes=50000-"]


def test_a_part_that_is_too_long_is_thrown_away(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(bytes(200_001))
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == [""]


def test_a_part_that_is_whole_needs_no_server(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(CONTENTS[FP32])
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == []


def test_what_is_not_there_is_named_at_once(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(status=404)
    with pytest.raises(StoreError, match=rf"127\.0\.0\.1 does not give {VOICES} \(HTTP 404\)"):
        puller.pull()
    assert len(mirror.asked) == 1


def test_a_server_that_is_busy_is_asked_again(puller: Puller, mirror: Mirror) -> None:
    mirror.script = [Answer(status=503), Answer(status=429)]
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert puller.waits == [1, 2]


def test_tries_are_bounded_and_what_arrived_is_kept(puller: Puller, mirror: Mirror) -> None:
    mirror.always = Answer(cut_at=100)
    with pytest.raises(DownloadFailed, match=f"{TRIES} times") as caught:
        puller.pull()
    assert caught.value.retryable
    assert len(mirror.asked) == TRIES
    assert puller.waits == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert puller.files() == {f"{VOICES}.part": CONTENTS[VOICES][: 100 * TRIES]}


def test_nobody_there_is_named(puller: Puller) -> None:
    puller.source = "http://127.0.0.1:9"
    with pytest.raises(DownloadFailed, match="Connection refused"):
        puller.pull()


def test_a_redirect_to_another_server_keeps_the_range(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(CONTENTS[FP32][:50_000])
    with running_mirror() as first:
        first.always = Answer(status=302, location=mirror.url)
        puller.source = first.url
        puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == first.ranges(FP32) == ["bytes=50000-"]


@pytest.mark.parametrize("location", ["ftp://127.0.0.1", "file:///etc"])
def test_a_redirect_out_of_the_web_is_refused(
    puller: Puller, mirror: Mirror, location: str
) -> None:
    mirror.always = Answer(status=302, location=location)
    with pytest.raises(StoreError):
        puller.pull()
    assert puller.files() == {f"{VOICES}.part": b""}


def test_a_folder_is_a_source(puller: Puller, tmp_path: Path) -> None:
    puller.source = str(folder_of_files(tmp_path / "carried"))
    puller.leave_part(CONTENTS[FP32][:50_000])
    puller.pull()
    assert puller.files() == only(FP32, VOICES)
    assert (FP32, 50_000) in puller.sizes


def test_a_folder_is_checked_as_a_server_is(puller: Puller, tmp_path: Path) -> None:
    carried = folder_of_files(tmp_path / "carried")
    puller.source = str(carried)
    (carried / FP32).write_bytes(bytes(len(CONTENTS[FP32])))
    with pytest.raises(FileRejected, match="checksum is wrong"):
        puller.pull()
    (carried / FP32).write_bytes(b"short")
    with pytest.raises(FileRejected, match="of 5 bytes"):
        puller.pull()
    (carried / FP32).unlink()
    with pytest.raises(StoreError, match=f"no {FP32} in the folder"):
        puller.pull()
    (carried / FP32).mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        puller.pull()
    assert set(puller.files()) <= {VOICES, f"{FP32}.part"}


def test_a_full_disk_is_seen_before_and_named(puller: Puller, mirror: Mirror) -> None:
    puller.leave_part(CONTENTS[FP32][:50_000])
    needed = 150_000 + 30_000 + MARGIN_BYTES
    puller.free = needed - 1_200_000
    with pytest.raises(StoreError, match=r"1\.2 MB too little.*takes 0\.2 MB"):
        puller.pull()
    assert mirror.asked == []
    puller.free = needed
    puller.pull()


def test_a_full_disk_does_not_matter_to_what_is_here(puller: Puller) -> None:
    puller.pull()
    puller.free = 0
    puller.pull()


def test_a_folder_that_cannot_be_made_is_named(puller: Puller, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StoreError, match="Cannot write into the folder of kokoro: Not a directory"):
        puller.pull()


def test_a_link_in_the_place_of_a_part_is_not_followed(puller: Puller, tmp_path: Path) -> None:
    puller.leave_part(b"").unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (puller.folder.path / f"{FP32}.part").symlink_to(victim)
    with pytest.raises(StoreError, match=f"Cannot write {FP32}"):
        puller.pull()
    assert victim.read_bytes() == b"precious"


def test_only_one_may_pull_at_a_time(puller: Puller, mirror: Mirror) -> None:
    refused = []

    def pull_too() -> None:
        with pytest.raises(StoreError, match="Another command") as caught:
            Puller(puller.root, mirror.url).pull()
        refused.append(caught.value)

    puller.on_progress = pull_too
    puller.pull()
    assert refused
    assert puller.files() == only(FP32, VOICES)
    puller.on_progress = lambda: None
    puller.pull("int8")


def test_a_pull_that_is_interrupted_leaves_what_came(puller: Puller, mirror: Mirror) -> None:
    def interrupt() -> None:
        if puller.sizes[-1][1]:
            raise KeyboardInterrupt

    puller.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        puller.pull()
    (left,) = puller.files().values()
    assert left
    assert CONTENTS[VOICES].startswith(left)


async def test_a_killed_pull_is_gone_on_from(puller: Puller, mirror: Mirror) -> None:
    mirror.script = [Answer(), Answer(stalls_at=1_000)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(REPOSITORY / "tests" / "small_models.py"), "pull", "kokoro"),
        *("--from", mirror.url, "--folder", str(puller.root)),
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | {"NO_PROXY": "*"},
    )
    part = puller.folder.path / f"{FP32}.part"
    await eventually(lambda: part.exists() and part.stat().st_size == 1_000, seconds=20)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    mirror.has_ended.set()
    assert find(SMALL, folders=[puller.root]) is None
    await asyncio.to_thread(puller.pull)
    assert puller.files() == only(FP32, VOICES)
    assert mirror.ranges(FP32) == ["", "bytes=1000-"]


@pytest.mark.parametrize(
    "given",
    [
        "ftp://mirror/kokoro",
        "https://",
        "https://someone:secret@mirror/",
        "https://mirror/?token=secret",
        "https://mirror:port/",
        "http://mirror/a b",
        "http://mirrör/",
    ],
)
def test_what_is_no_address_of_a_mirror_is_refused(given: str) -> None:
    with pytest.raises(StoreError, match="--from takes") as caught:
        pick(given, SMALL.url)
    assert "secret" not in caught.value.message


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="names no folder"):
        pick(str(tmp_path / "gone"), SMALL.url)


def test_https_is_not_left_for_http() -> None:
    asked, answer = Request("https://127.0.0.1/a"), io.BytesIO()
    follow = partial(_Redirects().redirect_request, asked, answer, 302, "", HTTPMessage())
    followed = follow("https://elsewhere/a")
    assert followed is not None
    assert followed.full_url == "https://elsewhere/a"
    with pytest.raises(StoreError, match="unprotected"):
        follow("http://127.0.0.1/a")


def test_a_certificate_that_is_not_valid_is_not_tried_again() -> None:
    source = pick(None, SMALL.url)
    assert isinstance(source, HttpSource)
    failure = source._broken(URLError(ssl.SSLCertVerificationError(1, "expired")))
    assert not isinstance(failure, DownloadFailed)
    assert "certificate of 127.0.0.1" in failure.message
