"""The wire contract of `voiced.v1`: a speech whose whole text is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doors import Door
from promises import SAMPLE_RATES
from texts import FORMATS, REFUSED, SENTENCES, SHORT, letters
from wire import Wire

# ----------------------------------------------------------------------------------------- speaking


async def test_a_speech_comes_in_the_promised_order(wire: Wire) -> None:
    speech = await wire.speak(SENTENCES)
    assert speech.order[:3] == ["speech-start", "segment", "frame 0"]
    assert speech.order[-1] == "speech-end"
    assert speech.order.count("segment") == len(speech.segments) > 1
    assert speech.samples > speech.rate  # it takes more than a second to say that
    assert speech.end is not None
    assert speech.end["first_audio_ms"] >= 0
    assert any(speech.audio)


async def test_every_letter_belongs_to_a_segment(wire: Wire) -> None:
    speech = await wire.speak(SENTENCES)
    assert letters(SENTENCES) <= speech.covered


@pytest.mark.parametrize("response_format", FORMATS)
async def test_every_format_begins_as_its_players_expect(wire: Wire, response_format: str) -> None:
    speech = await wire.speak(SENTENCES, response_format=response_format)
    audio = speech.audio
    assert speech.end is not None
    assert speech.end["samples"] > speech.rate
    assert audio.startswith(FORMATS[response_format])
    if response_format == "wav":
        assert audio[8:12] == b"WAVE"
    elif response_format == "opus":
        assert b"OpusHead" in audio[:64]
    elif response_format == "mp3":
        assert audio.startswith(b"ID3") or (audio[0] == 0xFF and audio[1] & 0xE0 == 0xE0)
    elif response_format == "aac":
        assert audio[0] == 0xFF
        assert audio[1] & 0xF6 == 0xF0


@pytest.mark.parametrize("sample_rate", sorted(SAMPLE_RATES))
async def test_every_sample_rate_takes_the_same_time(wire: Wire, sample_rate: int) -> None:
    usual = await wire.speak(SENTENCES)
    speech = await wire.speak(SENTENCES, sample_rate=sample_rate)
    assert speech.rate == sample_rate
    assert speech.samples / sample_rate == pytest.approx(usual.samples / usual.rate, rel=0.05)
    assert [r[:2] for r in speech.ranges] == [r[:2] for r in usual.ranges]


async def test_speed_is_heard_and_its_bounds_are_spoken(wire: Wire) -> None:
    lengths = [(await wire.speak(SHORT, speed=speed)).samples for speed in (0.25, 1, 2.0, 4)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 4


@pytest.mark.parametrize(("fields", "code"), REFUSED)
async def test_a_bad_request_is_refused_and_the_session_lives_on(
    wire: Wire, fields: dict[str, Any], code: str
) -> None:
    error = await wire.refused("speak", input=SHORT, **fields)
    assert error["code"] == code
    assert await wire.speak(SHORT)


@pytest.mark.parametrize("fields", [{}, {"input": ""}, {"input": 5}, {"input": ["x"]}])
async def test_a_speech_needs_a_text(wire: Wire, fields: dict[str, Any]) -> None:
    assert (await wire.refused("speak", **fields))["code"] == "invalid_request"


async def test_a_number_too_large_for_any_float_is_out_of_range(wire: Wire) -> None:
    await wire.send_text('{"id":1,"type":"speak","input":"x","speed":1e999}')
    answer = await wire.answer(1)
    assert answer["error"]["code"] == "invalid_request"
    wire.give_up()  # its ids are the test's


async def test_an_error_names_the_parameter_at_fault(wire: Wire) -> None:
    assert (await wire.refused("speak", input=SHORT, voice="nobody"))["param"] == "voice"


@pytest.mark.parametrize("option", ["no_such_option", "lead_silence_ms"])
async def test_an_invalid_option_is_named(wire: Wire, option: str) -> None:
    error = await wire.refused("speak", input=SHORT, model_specific_options={option: "much"})
    assert option in f"{error.get('param')} {error['message']}"


async def test_what_all_backends_share_is_a_valid_option(wire: Wire) -> None:
    options = {"raw": True, "strict": True, "lead_silence_ms": 100, "tail_silence_ms": 100}
    assert await wire.speak(SHORT, model_specific_options=options)


async def test_a_null_where_the_contract_allows_it_counts_as_absent(wire: Wire) -> None:
    usual = await wire.speak(SHORT)
    speech = await wire.speak(SHORT, instructions=None, language=None)
    assert speech.start == usual.start
    assert await wire.speak(SHORT, instructions="Whisper, please.")


async def test_a_language_can_be_asked_for(wire: Wire) -> None:
    assert await wire.speak("Guten Morgen.", language="de")


async def test_a_text_may_have_max_input_chars_and_not_one_more(wire: Wire) -> None:
    limit = wire.limits["max_input_chars"]
    if limit + 200 > wire.limits["max_message_bytes"]:
        pytest.skip("max_message_bytes is reached before")
    text = wire.endless(2 * limit).ljust(limit, "x")
    speech = await wire.begin(text)
    await wire.call("speech/cancel", speech=speech.id)
    assert (await wire.refused("speak", input=text + "x"))["code"] == "text_too_long"


@pytest.mark.parametrize("character", ["é", "\N{SLIGHTLY SMILING FACE}"])
async def test_a_text_is_counted_in_code_points(wire: Wire, character: str) -> None:
    limit = wire.limits["max_input_chars"]
    size = len(character.encode())
    odd = min((wire.limits["max_message_bytes"] - 200 - limit) // (size - 1), limit)
    if odd <= 0:
        pytest.skip("max_message_bytes is reached before")
    text = character * odd + "x " * ((limit - odd) // 2)
    command = wire.command("speak", input=text.ljust(limit, "x"))
    await wire.send_text(json.dumps(command, ensure_ascii=False))
    assert (await wire.answer(command["id"]))["success"]


@pytest.mark.parametrize("text", [" ", "\n\t ", "...", "?!", "—"])
async def test_without_speakable_text_a_speech_is_complete_and_silent(
    wire: Wire, text: str
) -> None:
    speech = await wire.speak(text)
    assert speech.order == ["speech-start", "notice no_speakable_text", "speech-end"]


@pytest.mark.parametrize("response_format", FORMATS)
async def test_without_speakable_text_no_format_has_a_frame(
    wire: Wire, response_format: str
) -> None:
    speech = await wire.speak(" ", response_format=response_format)
    assert speech.order == ["speech-start", "notice no_speakable_text", "speech-end"]


@pytest.mark.parametrize(
    "text",
    [
        "\N{SLIGHTLY SMILING FACE} Good morning. \N{GRINNING FACE}\N{GRINNING FACE} It rains now",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 We are here. \U0001f1e9\U0001f1ea is far",
        "Cafe\u0301 noir. E\u0301tude. Nai\u0308ve people drink it",
        "One \ud800 two. \udc00 Three. Four \udc00\ud800 five",
        "A\x00b. \ufeff Good morning. \u202eIt rains",
        "  \n Good morning. \u00a0\u3000 It rains. \r\n\r\n Now it stops",
    ],
)
@pytest.mark.parametrize("is_escaped", [True, False])
async def test_text_positions_count_code_points(wire: Wire, text: str, is_escaped: bool) -> None:  # noqa: FBT001
    if not is_escaped:
        text = text.encode(errors="ignore").decode()  # halves can only come escaped
    command = wire.command("speak", input=text)
    await wire.send_text(json.dumps(command, ensure_ascii=is_escaped))
    speech = await wire.end(wire.speeches[command["id"]])
    assert speech.reason == "complete"
    assert letters(text) <= speech.covered
    assert speech.segments[-1]["text_end"] == len(text)  # it ends with a letter


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\udc00\ud800", "\ufffe\uffff", "🙂", "\u0301"])
async def test_odd_text_is_spoken_or_passed_over(wire: Wire, text: str) -> None:
    await wire.speak(text)


async def test_a_long_word_does_not_break_a_speech(wire: Wire) -> None:
    text = "x" * 3000
    speech = await wire.speak(text)
    assert speech.covered == set(range(len(text)))


async def test_an_unavailable_model_is_spoken_by_another_which_says_so(wire: Wire) -> None:
    models = (await wire.call("models/list"))["models"]
    missing = [model["id"] for model in models if model["state"] == "unavailable"]
    if not missing:
        pytest.skip("every model is available")
    speech = await wire.speak(SHORT, model=missing[0])
    assert "backend_fallback" in {notice["code"] for notice in speech.notices}
    strict = {"strict": True}
    error = await wire.refused(
        "speak", input=SHORT, model=missing[0], model_specific_options=strict
    )
    assert error["code"] == "backend_unavailable"


# ---------------------------------------------------------------------------------- modes and order


async def test_queued_speeches_speak_one_after_the_other(wire: Wire) -> None:
    ids = await wire.send_all(*(wire.command("speak", input=SENTENCES) for _ in range(4)))
    for speech_id in ids:
        await wire.end(wire.speeches[speech_id])
        assert wire.speeches[speech_id].reason == "complete"


async def test_a_parallel_speech_does_not_wait(wire: Wire) -> None:
    long = await wire.begin(wire.endless())
    short = await wire.speak(SHORT, mode="parallel")
    assert long.end is None
    assert short.samples


async def test_parallel_speeches_do_not_get_mixed_up(wire: Wire) -> None:
    texts = ["One, two, three, four. Five, six!", SENTENCES, "Short.", "Shorter still? Yes."]
    alone = [await wire.speak(text) for text in texts]
    together = [await wire.begin(text, mode="parallel") for text in texts]
    for expected, speech in zip(alone, together, strict=True):
        await wire.end(speech)
        assert speech.ranges == expected.ranges
        assert speech.samples == expected.samples


async def test_a_replacing_speech_ends_the_others_before_its_result(wire: Wire) -> None:
    first = await wire.begin(wire.endless())
    waiting = await wire.begin(SHORT)
    beside = await wire.begin(wire.endless(), mode="parallel")
    await wire.until(lambda: first.frames != [] and beside.frames != [])
    speech = await wire.begin(SHORT, mode="replace")
    assert [first.reason, waiting.reason, beside.reason] == ["replaced"] * 3
    assert waiting.order == ["speech-end"]
    await wire.end(speech)
    assert speech.reason == "complete"


async def test_replacing_again_and_again_leaves_the_last(wire: Wire) -> None:
    fields = {"input": wire.endless(1000), "mode": "replace"}
    ids = await wire.send_all(*(wire.command("speak", **fields) for _ in range(20)))
    await wire.end(wire.speeches[ids[-1]])
    reasons = [wire.speeches[speech].reason for speech in ids]
    assert reasons == ["replaced"] * 19 + ["complete"]


async def test_a_speech_too_many_is_refused_and_the_others_go_on(wire: Wire) -> None:
    limit = wire.limits["max_speeches"]
    first = await wire.begin(SENTENCES * 4)
    others = [await wire.begin(SHORT) for _ in range(limit - 1)]
    assert (await wire.refused("speak", input=SHORT))["code"] == "too_many_speeches"
    for speech in [first, *others]:
        assert (await wire.end(speech)).reason == "complete"
    await wire.speak(SHORT)


async def test_the_speeches_of_another_session_do_not_count(door: Door, wire: Wire) -> None:
    for _ in range(wire.limits["max_speeches"]):
        await wire.begin(wire.endless())
    async with door.dial() as other:
        await other.speak(SHORT)


async def test_high_priority_goes_before_a_normal_speech_that_waits(wire: Wire) -> None:
    first = await wire.begin(wire.endless())
    normal = await wire.begin(SHORT)
    high = await wire.begin(SHORT, priority="high")
    await wire.until(lambda: first.frames != [])
    await wire.call("speech/cancel", speech=first.id)
    await wire.until(lambda: normal.frames != [])
    assert high.frames
    await wire.end(high)
    await wire.end(normal)


async def test_high_priority_does_not_wait_for_normal_speeches_of_others(
    door: Door, wire: Wire
) -> None:
    fields = {"input": wire.endless(), "mode": "parallel"}
    await wire.send_all(*(wire.command("speak", **fields) for _ in range(3)))
    async with door.dial() as other:
        await other.speak(SHORT, priority="high")
    assert all(speech.end is None for speech in wire.speeches.values())


async def test_a_slow_reader_loses_nothing_and_holds_up_nobody(door: Door, wire: Wire) -> None:
    text = SENTENCES * 8
    expected = await wire.speak(text)
    async with door.dial(max_queue=1) as slow:
        speech = await slow.begin(text)
        for _ in range(3):
            await wire.speak(SHORT)  # meanwhile the slow one does not read
            await slow.until(lambda: len(speech.frames) > 40)
        await slow.end(speech)
    assert speech.reason == "complete"
    assert speech.ranges == expected.ranges
    assert speech.samples == expected.samples


async def test_a_client_that_leaves_in_the_middle_harms_nobody(door: Door, wire: Wire) -> None:
    for _ in range(5):
        async with door.dial() as leaving:
            speech = await leaving.begin(leaving.endless())
            await leaving.until(lambda speech=speech: speech.frames != [])  # type: ignore[misc]
            leaving.connection.transport.abort()
            leaving.give_up()
    await wire.speak(SHORT)
