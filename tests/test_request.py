from __future__ import annotations

import pytest

from voiced.errors import RequestError, TextTooLong
from voiced.request import OpenAISpeechRequest, SpeechRequest, check_length, parse


@pytest.mark.parametrize("data", [{}, {"input": ""}, {"input": None}, {"input": 5}])
def test_a_request_needs_text(data: object) -> None:
    with pytest.raises(RequestError) as caught:
        parse(OpenAISpeechRequest, data)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "input")


def test_the_text_of_a_request_is_whole() -> None:
    text = OpenAISpeechRequest(input="Hello.").text()
    assert (text.read(0, 6), text.is_ended) == ("Hello.", True)


def test_without_an_input_the_text_is_still_to_come() -> None:
    text = SpeechRequest().text()
    assert (len(text), text.is_ended) == (0, False)


def test_a_text_that_is_too_long_is_told_its_limit() -> None:
    check_length(10, limit=10, param="text")
    with pytest.raises(TextTooLong, match="11 characters, the limit is 10") as caught:
        check_length(11, limit=10, param="text")
    assert caught.value.param == "text"
