from __future__ import annotations

from pathlib import Path

import pytest
from support import INSTALLED, SHIPPED, running_manager

from voiced.errors import ConfigError
from voiced.synthesis.mappings import Mappings

OPENAI_VOICES = "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()


def test_the_shipped_names() -> None:
    assert SHIPPED.models["tts-1"] == "openai_official_tts-1"
    assert SHIPPED.models["eleven_monolingual_v1"] == "elevenlabs_english_v1"
    assert SHIPPED.models["kokoro"] == "local_kokoro_default_onnx"
    assert SHIPPED.models["alltalk_default"] == "alltalk_api_backend"
    assert {"tts-1-hd", "gpt-4o-mini-tts", "espeak"} <= SHIPPED.models.keys()
    assert SHIPPED.voice("k_bella", backend_id="x", backend_type="kokoro") == "af_bella"


@pytest.mark.parametrize("kind", ["espeak", "kokoro"])
def test_openai_s_voices_are_distinct_voices_of_each_local_engine(kind: str) -> None:
    native = [SHIPPED.voice(name, backend_id="any", backend_type=kind) for name in OPENAI_VOICES]
    assert None not in native
    assert len(set(native)) == len(OPENAI_VOICES) == 13


async def test_every_alias_of_espeak_is_one_of_its_voices() -> None:
    async with running_manager() as manager:
        backend = await manager.get_backend("espeak")
        for name in OPENAI_VOICES:
            native = SHIPPED.voice(name, backend_id="espeak", backend_type="espeak")
            assert native is not None
            assert backend.find_voice(native) is not None, native


def test_a_later_file_goes_before_an_earlier_one(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.json", tmp_path / "b.json"
    ours.write_text('{"models": {"a": "1", "b": "2"}, "voices": {"v": "x"}}')
    theirs.write_text('{"models": {"b": "3"}, "voices": {"v": {"espeak": "de", "my-id": "fr"}}}')
    read = Mappings.read(ours, theirs)
    assert read.models == {"a": "1", "b": "3"}
    assert read.voice("v", backend_id="my-id", backend_type="espeak") == "fr"
    assert read.voice("v", backend_id="other", backend_type="espeak") == "de"
    assert read.voice("v", backend_id="other", backend_type="kokoro") is None


@pytest.mark.parametrize("text", ["{", '{"model": {}}', '{"models": {"a": 1}}', "[]"])
def test_a_wrong_file_is_named(text: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(text)
    with pytest.raises(ConfigError, match=r"wrong\.json"):
        Mappings.read(wrong)


def test_every_type_in_the_voices_table_is_a_word_for_an_engine() -> None:
    types = {
        key for native in SHIPPED.voices.values() if isinstance(native, dict) for key in native
    }
    assert types <= {*INSTALLED.names(), "kokoro"}
