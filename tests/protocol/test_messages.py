from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiced.protocol import messages
from voiced.protocol.messages import FrameFlag
from voiced.speech import AudioFormat, AudioFrame


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"a": NaN}', "[Infinity]", "-Infinity", "[" * 60_000, '"\x00"']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # every kind of it is one
        messages.decode(text)


def test_halves_of_surrogates_pass_both_ways() -> None:
    assert messages.decode('"\\ud800"') == "\ud800"
    assert messages.decode(messages.encode({"text": "\ud800"})) == {"text": "\ud800"}


def test_text_is_written_in_utf_8_and_takes_no_more_bytes_than_that() -> None:
    assert messages.encode({"text": "я"}) == '{"text":"я"}'


@given(
    data=st.binary(max_size=30_000),
    position=st.integers(0, 2**40),
    is_first=st.booleans(),
    is_last=st.booleans(),
    response_format=st.sampled_from([AudioFormat.PCM, AudioFormat.MP3]),
)
def test_frames_carry_all_and_say_where_it_belongs(
    data: bytes, position: int, *, is_first: bool, is_last: bool, response_format: AudioFormat
) -> None:
    data = data[: len(data) // 2 * 2]
    frame = AudioFrame(
        data,
        segment=3,
        position=position,
        samples=len(data) // 2,
        first=is_first,
        first_of_segment=True,
        last=is_last,
    )
    written = list(messages.audio_frames(7, frame, response_format))
    read = [messages.parse_frame(part) for part, _ in written]
    assert b"".join(payload for *_, payload in read) == data
    assert sum(samples for _, samples in written) == frame.samples
    assert all(len(payload) <= 8192 for *_, payload in read)
    assert all((kind, segment, speech) == (1, 3, 7) for kind, _, segment, speech, _, _ in read)
    flags = [flag for _, flag, *_ in read]
    assert (FrameFlag.FIRST in flags[0]) == is_first
    assert FrameFlag.FIRST_OF_SEGMENT in flags[0]
    assert (FrameFlag.LAST in flags[-1]) == is_last
    assert all(flag == FrameFlag(0) for flag in flags[1:-1])
    if response_format is AudioFormat.PCM:
        at = position
        for *_, found, payload in read:
            assert found == at
            at += len(payload) // 2


def test_the_header_is_big_endian_and_16_bytes() -> None:
    frame = AudioFrame(b"\x01\x02", 2, 5, 1, first=True, first_of_segment=True, last=False)
    ((data, _),) = messages.audio_frames(9, frame, AudioFormat.PCM)
    assert data == bytes.fromhex("01 05 0002 00000009 0000000000000005") + b"\x01\x02"


def test_a_frame_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        messages.parse_frame(b"\x01" * 15)
