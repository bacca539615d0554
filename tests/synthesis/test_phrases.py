"""What was said before: found again sample for sample, made once, never wrong."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import RATE, ScriptedBackend, decode, request, running_manager, scripted, speak

from voiced.errors import BackendError
from voiced.reading.lexicon import Entry, Lexicon
from voiced.speech import AudioFormat, AudioFrame, WordMark, Words
from voiced.synthesis.manager import TTSBackendManager
from voiced.synthesis.phrase_store import FILE, DiskPhrases, PhraseFile
from voiced.synthesis.phrases import Part, Phrase, PhraseCache

TEXT = "The kettle is on."
MB = 1_000_000


@asynccontextmanager
async def cached(
    folder: Path | None = None, *, memory_mb: int = 10, kind: type[ScriptedBackend] | None = None
) -> AsyncIterator[tuple[TTSBackendManager, PhraseCache]]:
    store = DiskPhrases(folder, most_bytes=10 * MB) if folder else None
    phrases = PhraseCache(memory_bytes=memory_mb * MB, store=store)
    if store:
        await store.open()
    types = {"scripted": kind} if kind else None
    async with running_manager(types, phrases=phrases) as manager:
        yield manager, phrases
    if store:
        await store.close()


@pytest.mark.parametrize("response_format", list(AudioFormat))
async def test_a_repeated_phrase_is_the_same_and_not_made_again(
    response_format: AudioFormat,
) -> None:
    async with cached() as (manager, phrases):
        fields: dict[str, Any] = {"response_format": str(response_format)}
        events, first = await speak(manager, TEXT, **fields)
        again_events, again = await speak(manager, TEXT, **fields)
        if response_format is AudioFormat.OPUS:  # whose streams have random numbers
            assert np.array_equal(decode(again)[0], decode(first)[0])
        else:
            assert again == first
        marks = [event for event in events if isinstance(event, Words)]
        again_marks = [event for event in again_events if isinstance(event, Words)]
        assert [w for m in marks for w in m.words] == [w for m in again_marks for w in m.words]
        assert (phrases.hits, phrases.misses) == (1, 1)


async def test_the_engine_is_not_touched() -> None:
    kind = scripted()
    async with cached(kind=kind) as (manager, _):
        for _ in range(3):
            await speak(manager, TEXT)
        assert kind.made[0].spoken == [TEXT]


@pytest.mark.parametrize(
    "other",
    [
        {"voice": "zwei"},
        {"speed": 1.5},
        {"language": "de"},
        {"instructions": "Softly."},
        {"sample_rate": 16000},
        {"text": "The kettle is off."},
    ],
    ids=str,
)
async def test_what_shapes_the_sound_is_in_the_key(other: dict[str, Any]) -> None:
    kind = scripted()
    async with cached(kind=kind) as (manager, phrases):
        await speak(manager, TEXT)
        fields = dict(other)
        await speak(manager, fields.pop("text", TEXT), **fields)
        assert (phrases.hits, phrases.misses) == (0, 2)


async def test_silence_around_it_is_not_in_the_key() -> None:
    async with cached() as (manager, phrases):
        _, plain = await speak(manager, TEXT)
        options = {"lead_silence_ms": 100, "tail_silence_ms": 200}
        _, padded = await speak(manager, TEXT, model_specific_options=options)
        assert phrases.hits == 1
        assert len(padded) - len(plain) == 2 * RATE * 3 // 10


async def test_the_lexicon_is_in_the_key() -> None:
    async with cached() as (manager, phrases):
        _, before = await speak(manager, TEXT)
        manager.lexicon = Lexicon([Entry(write="kettle", say="teapot of old")])
        _, after = await speak(manager, TEXT)
        assert len(after) > len(before)
        assert phrases.misses == 2


async def test_equal_requests_at_a_time_are_made_once() -> None:
    kind = scripted()
    async with cached(kind=kind) as (manager, phrases):
        spoken = await asyncio.gather(*(speak(manager, TEXT) for _ in range(5)))
        assert len({audio for _, audio in spoken}) == 1
        assert kind.made[0].spoken == [TEXT]
        assert (phrases.misses, phrases.joins) == (1, 4)


async def test_who_leaves_takes_nothing_from_those_who_listen() -> None:
    async with cached() as (manager, _):
        _, whole = await speak(manager, f"{TEXT} Once more.")

    async with cached() as (manager, phrases):

        async def leave() -> None:
            plan = manager.plan(request(TEXT), default_format=AudioFormat.PCM, sample_rate=RATE)
            async with aclosing(manager.speak(plan, label="test")) as events:
                async for event in events:
                    if isinstance(event, AudioFrame):
                        return

        results = await asyncio.gather(leave(), speak(manager, f"{TEXT} Once more."), leave())
        assert results[1] is not None
        assert results[1][1] == whole
        assert phrases.misses >= 1


async def test_what_nobody_heard_to_its_end_is_not_kept() -> None:
    kind = scripted()
    async with cached(kind=kind) as (manager, phrases):
        plan = manager.plan(request("x" * 150), default_format=AudioFormat.PCM, sample_rate=RATE)
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    break
        assert phrases.size_bytes == 0
        _, audio = await speak(manager, "x" * 150)
        assert len(audio) >= 2 * 150 * RATE // 100 - RATE // 10
        assert phrases.hits == 0


async def test_what_failed_is_not_kept() -> None:
    kind = scripted(fails_after_chunks=5)
    async with cached(kind=kind) as (manager, phrases):
        for _ in range(2):
            with pytest.raises(BackendError):
                await speak(manager, TEXT)
        assert phrases.size_bytes == 0
        assert phrases.misses == 2


async def test_memory_is_bounded_and_the_least_used_go() -> None:
    cache = PhraseCache(memory_bytes=10_000)

    async def say(name: str) -> None:
        async def make() -> Any:
            yield np.zeros(1000, np.int16), []

        async with aclosing(cache.parts(name.encode(), make)) as parts:
            assert [part async for part in parts]

    for name in ("a", "b", "c", "a", "d", "e"):
        await say(name)
        assert cache.size_bytes <= 10_000
    assert (cache.hits, cache.misses) == (1, 5)
    for name, is_kept in (("a", True), ("b", False), ("e", True)):
        hits = cache.hits
        await say(name)
        assert (cache.hits > hits) == is_kept


# ------------------------------------------------------------------------------------ on the disk


async def test_a_phrase_outlives_a_restart_sample_for_sample(tmp_path: Path) -> None:
    async with cached(tmp_path) as (manager, _):
        _, first = await speak(manager, TEXT)
    async with cached(tmp_path) as (manager, phrases):
        events, again = await speak(manager, TEXT)
        assert again == first
        assert any(isinstance(event, Words) for event in events)
        assert phrases.hits == 1


async def test_the_disk_alone_is_enough(tmp_path: Path) -> None:
    async with cached(tmp_path, memory_mb=0) as (manager, phrases):
        await speak(manager, TEXT)
        await asyncio.sleep(0.1)
        await speak(manager, TEXT)
        assert phrases.hits == 1
        assert phrases.size_bytes == 0


async def test_nobody_else_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    async with cached(folder):
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def phrase(number: int, samples: int = 1000) -> Phrase:
    noise = np.random.default_rng(number).integers(-9999, 9999, samples, np.int16)
    return Phrase(noise, (WordMark(0, number % 50 + 1, number),))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def is_right(found: Phrase | None, number: int) -> bool:
    wanted = phrase(number)
    return (
        found is not None
        and np.array_equal(found.samples, wanted.samples)
        and found.marks == wanted.marks
    )


def test_the_file_is_bounded(tmp_path: Path) -> None:
    file = PhraseFile(tmp_path, most_bytes=50_000)
    gone: list[bytes] = []
    for number in range(100):
        gone += file.put(key(number), phrase(number))
        file.get(key(0))  # used all the time
    assert file.stock().size_bytes <= 50_000
    assert file.keys() == {key(number) for number in range(100)} - set(gone)
    assert is_right(file.get(key(0)), 0)
    assert is_right(file.get(key(99)), 99)
    assert file.get(key(1)) is None
    file.close()


@pytest.mark.parametrize("damage", ["middle", "cut", "empty", "nonsense"])
def test_damage_is_found_and_what_is_damaged_dropped(tmp_path: Path, damage: str) -> None:
    file = PhraseFile(tmp_path, most_bytes=10 * MB)
    for number in range(50):
        file.put(key(number), phrase(number, 4000))
    file.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    if damage == "middle":
        for at in range(len(content) // 3, len(content), 50_000):
            content[at] ^= 0xFF
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "nonsense": b"x" * 9999}
    path.write_bytes(bytes(damaged.get(damage, content)))
    file = PhraseFile(tmp_path, most_bytes=10 * MB)
    wanted = [phrase(number, 4000) for number in range(50)]
    for number in range(50):
        try:
            found = file.get(key(number))
        except sqlite3.DatabaseError:  # SQLite notices it itself; the store gives the file up
            break
        assert found is None or np.array_equal(found.samples, wanted[number].samples)
    file.close()


def write_until_killed(folder: Path, start: int) -> None:
    file = PhraseFile(folder, most_bytes=50 * MB)
    for number in range(start, start + 1000):
        file.put(key(number), phrase(number))


def test_a_kill_in_the_middle_of_writes_does_no_harm(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    for turn in range(5):
        writer = spawn.Process(target=write_until_killed, args=(tmp_path, turn * 1000))
        writer.start()
        deadline = time.monotonic() + 30
        while not _is_writing(tmp_path, turn) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        file = PhraseFile(tmp_path, most_bytes=50 * MB)
        keys = file.keys()
        assert any(one >= key(turn * 1000) for one in keys)
        for one in list(keys)[-200:]:
            assert is_right(file.get(one), int.from_bytes(one, "big"))
        file.put(key(99_999), phrase(99_999))
        assert is_right(file.get(key(99_999)), 99_999)
        file.close()


def _is_writing(folder: Path, turn: int) -> bool:
    """Tell whether some hundred of the turn's phrases are there."""
    if not (folder / FILE).exists():
        return False
    file = PhraseFile(folder, most_bytes=50 * MB)
    keys = file.keys()
    written = sum(one >= key(turn * 1000) and one < key(99_999) for one in keys)
    file.close()
    return written > 100


async def test_a_folder_that_cannot_be_made_keeps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    async with cached(tmp_path / "file" / "cache") as (manager, _):
        assert (await speak(manager, TEXT))[1]
    assert "phrases are not kept on the disk" in caplog.text


def test_a_phrase_of_another_format_is_begun_anew(tmp_path: Path) -> None:
    file = PhraseFile(tmp_path, most_bytes=MB)
    file.put(key(1), phrase(1))
    file._database.execute("pragma user_version = 99")
    file.close()
    file = PhraseFile(tmp_path, most_bytes=MB)
    assert file.keys() == set()
    file.close()


async def test_a_file_that_another_process_holds_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cached(tmp_path, memory_mb=0) as (manager, phrases):
        _, first = await speak(manager, TEXT)
        await asyncio.sleep(0.1)
        with sqlite3.connect(tmp_path / FILE) as other:
            other.execute("begin exclusive")
            other.execute("update phrases set used = 1")
            began = time.monotonic()
            assert (await speak(manager, TEXT))[1] == first
            await speak(manager, "Another one.")
            assert time.monotonic() - began < 3
            await asyncio.sleep(0.5)
            other.rollback()
        assert "database is locked" in caplog.text
        assert "damaged" not in caplog.text
        await speak(manager, "And another one.")
        await asyncio.sleep(0.2)
        hits = phrases.hits
        await speak(manager, "And another one.")
        assert phrases.hits == hits + 1


async def test_a_file_that_breaks_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskPhrases(tmp_path, most_bytes=10 * MB)
    await store.open()

    def broken(_self: PhraseFile, _key: bytes) -> Phrase | None:
        raise sqlite3.DatabaseError("malformed")

    store.put(key(1), phrase(1))
    await asyncio.sleep(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhraseFile, "get", broken)
        assert await store.get(key(1)) is None
    assert "damaged (malformed) and begun anew" in caplog.text
    store.put(key(2), phrase(2))
    await asyncio.sleep(0.1)
    assert is_right(await store.get(key(2)), 2)
    assert await store.get(key(1)) is None
    await store.close()


async def test_what_was_cut_off_within_is_not_kept() -> None:
    cache = PhraseCache(memory_bytes=MB)

    async def make() -> AsyncGenerator[Part, None]:
        yield np.zeros(100, np.int16), []
        raise asyncio.CancelledError

    async with aclosing(cache.parts(b"a", make)) as parts:
        assert len([part async for part in parts]) == 1
    assert cache.size_bytes == 0
