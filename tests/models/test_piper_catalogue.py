"""Piper's catalogue of voices, pulled from a mirror and from a folder."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_models import CONTENTS, Answer, Mirror, running_mirror

from voiced.cli import main
from voiced.errors import StoreError
from voiced.models.piper import CATALOGUE, PiperCatalogue
from voiced.models.source import HttpSource

LESSAC, TUGAO = "en_US-lessac-medium", "pt_PT-tugão-medium"


def files_of(voice: str) -> dict[str, bytes]:
    code, name, quality = voice.split("-")
    folder = f"{code[:2]}/{code}/{name}/{quality}"
    return {
        f"{folder}/{voice}.onnx": random.Random(voice).randbytes(50_000),
        f"{folder}/{voice}.onnx.json": json.dumps({"of": voice}).encode(),
        f"{folder}/MODEL_CARD": b"# A card",
    }


def entry(voice: str) -> dict[str, Any]:
    """An entry as the project publishes it."""
    return {
        "key": voice,
        "name": voice.split("-")[1],
        "language": {
            "code": voice[:5],
            "family": voice[:2],
            "name_english": "English",
            "country_english": "United States",
        },
        "quality": "medium",
        "num_speakers": 1,
        "speaker_id_map": {},
        "files": {
            path: {"size_bytes": len(content), "md5_digest": hashlib.md5(content).hexdigest()}
            for path, content in files_of(voice).items()
        },
        "aliases": [],
    }


PUBLISHED = {voice: entry(voice) for voice in (LESSAC, TUGAO)}
FILES = {
    CATALOGUE: json.dumps(PUBLISHED).encode(),
    **files_of(LESSAC),
    **files_of(TUGAO),
}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    for path, content in FILES.items():
        monkeypatch.setitem(CONTENTS, path, content)
    with running_mirror() as made:
        yield made


def models(*arguments: str) -> int:
    return main(["models", *arguments])


@pytest.mark.parametrize("voice", [LESSAC, TUGAO])
def test_a_voice_comes_with_its_configuration(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str], voice: str
) -> None:
    assert models("pull", "piper", "--voice", voice, "--from", mirror.url) == 0
    folder = tmp_path / "models" / "piper"
    for path, content in files_of(voice).items():
        if not path.endswith("MODEL_CARD"):
            assert (folder / path.rpartition("/")[2]).read_bytes() == content
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        f"{voice}.onnx.json has arrived: 0.0 MB, checksum right",
        f"{voice}.onnx has arrived: 0.1 MB, checksum right",
    ]
    assert said[2] == f"piper {voice} is in {folder}"
    assert models("verify", "piper") == 0
    assert models("pull", "piper", "--voice", voice, "--from", mirror.url) == 0
    assert "is here already" in capsys.readouterr().out


@pytest.mark.parametrize("is_flat", [True, False])
def test_a_voice_may_be_carried_over(mirror: Mirror, tmp_path: Path, *, is_flat: bool) -> None:
    carried = tmp_path / "stick"
    for path, content in FILES.items():
        file = carried / (path.rpartition("/")[2] if is_flat else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert models("pull", "piper", "--voice", LESSAC, "--from", str(carried)) == 0
    assert models("verify", "piper") == 0
    assert not mirror.asked


def test_without_a_name_the_voices_are_listed(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("pull", "piper", "--from", mirror.url) == 2
    said = capsys.readouterr().out
    assert "2 voices; name one by --voice" in said
    assert LESSAC in said
    assert "English (United States)" in said


def test_an_unknown_voice_gets_the_nearest(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("pull", "piper", "--voice", "en-lessac", "--from", mirror.url) == 1
    assert f"did you mean {LESSAC}" in capsys.readouterr().err


def test_what_is_damaged_is_found_without_a_network(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for voice in (LESSAC, TUGAO):
        models("pull", "piper", "--voice", voice, "--from", mirror.url)
    mirror.always = Answer(status=500)
    folder = tmp_path / "models" / "piper"
    (folder / f"{TUGAO}.onnx").write_bytes(bytes(50_000))
    assert models("verify") == 1
    said = capsys.readouterr()
    assert f"wrong checksum {TUGAO}.onnx" in said.out
    assert f"`voiced models pull piper --voice {TUGAO}` mends it" in said.err
    assert models("remove", "piper", "--voice", TUGAO) == 0
    assert models("verify") == 0
    assert models("remove", "piper") == 0
    assert not list(folder.glob("*.onnx*"))


def test_wrong_bytes_are_refused(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.script = [
        Answer(),
        Answer(body=bytes(len(FILES[f"en/en_US/lessac/medium/{LESSAC}.onnx.json"]))),
    ]
    assert models("pull", "piper", "--voice", LESSAC, "--from", mirror.url) == 1
    assert "checksum is wrong" in capsys.readouterr().err
    assert not list((tmp_path / "models" / "piper").glob("*.onnx*"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}[",
        json.dumps({"../x": PUBLISHED[LESSAC]}).encode(),
        json.dumps({LESSAC: {}}).encode(),
        json.dumps({LESSAC: PUBLISHED[TUGAO]}).encode(),
        FILES[CATALOGUE].replace(b"en/en_US", b"../../en"),
        FILES[CATALOGUE].replace(b"en/en_US", b"/etc"),
    ],
)
def test_what_is_no_catalogue_is_refused(mirror: Mirror, content: bytes) -> None:
    mirror.script = [Answer(body=content)]
    with pytest.raises(StoreError, match="no catalogue of Piper"):
        PiperCatalogue.of(HttpSource(mirror.url))


def test_a_catalogue_without_an_end_is_refused(mirror: Mirror) -> None:
    mirror.script = [Answer(body=b" " * 9_000_000)]
    with pytest.raises(StoreError, match="more than 8,000,000 bytes"):
        PiperCatalogue.of(HttpSource(mirror.url))


def test_a_mirror_that_fails_is_named(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.always = Answer(status=503)
    assert models("pull", "piper", "--voice", LESSAC, "--from", mirror.url) == 1
    assert "127.0.0.1 answers 503; run it again." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("piper", "--variant", "fp32"), "name one by --voice"),
        (("kokoro", "--voice", "af_heart"), "leave --voice out"),
    ],
)
def test_each_model_has_its_option(
    mirror: Mirror, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], cure: str
) -> None:
    assert models("pull", *arguments, "--from", mirror.url) == 1
    assert cure in capsys.readouterr().err
