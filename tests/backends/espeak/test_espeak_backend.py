from __future__ import annotations

import pytest
from support import request, running_manager, speak

from voiced.errors import RequestError
from voiced.speech import AudioFormat, SegmentStart


async def test_ssml_is_one_document_whatever_stands_in_it() -> None:
    text = '<speak>One. <break time="3s"/> Two, and three.</speak>'
    async with running_manager() as manager:
        for first in ("clause", "eager", "sentence"):
            options = {"ssml": True, "first_segment": first}
            events, audio = await speak(manager, text, model_specific_options=options)
            assert sum(isinstance(event, SegmentStart) for event in events) == 1
            assert len(audio) > 4 * 48000


async def test_voices_by_every_name_that_people_use() -> None:
    async with running_manager() as manager:
        backend = await manager.get_backend("espeak")
        for name, expected in {
            "en-us": "en-us",
            "EN-US": "en-us",
            "gmw/en-US": "en-us",
            "en-gb": "en",
            "fr-fr": "fr",
            "en-us+f3": "en-us+f3",
            "en-us+ANNIE": "en-us+Annie",
            "yue": "yue",
        }.items():
            voice = backend.find_voice(name)
            assert voice is not None
            assert voice.id == expected
        assert backend.find_voice("en-us+zz") is None
        assert backend.find_voice("nope") is None


async def test_a_language_beside_a_voice_keeps_the_variant() -> None:
    async with running_manager() as manager:
        backend = await manager.get_backend("espeak")
        assert backend.choose_voice("en-us+f3", "de").id == "de+f3"
        assert backend.choose_voice("en-us+f3", "en").id == "en-us+f3"
        assert backend.choose_voice(None, "pt-BR").id == "pt-br"


@pytest.mark.parametrize(
    "options",
    [{"pitch": 101}, {"pitch": "50"}, {"word_gap": -1}, {"ssml": 1}, {"unheard_of": True}],
)
async def test_options_are_checked(options: dict[str, object]) -> None:
    async with running_manager() as manager:
        await manager.get_backend("espeak")
        with pytest.raises(RequestError) as caught:
            manager.plan(
                request("one", model_specific_options=options),
                default_format=AudioFormat.PCM,
                sample_rate=24000,
            )
        assert caught.value.code == "invalid_option"
        assert caught.value.param == f"model_specific_options.{next(iter(options))}"


async def test_options_are_heard() -> None:
    async with running_manager() as manager:
        _, plain = await speak(manager, "one two three")
        _, slow = await speak(manager, "one two three", model_specific_options={"word_gap": 50})
        _, high = await speak(manager, "one two three", model_specific_options={"pitch": 90})
        assert len(slow) > len(plain) + 24000  # two gaps of half a second
        assert high != plain
