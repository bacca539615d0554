from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voiced.text import SpeechText


@given(parts=st.lists(st.text(max_size=3000), max_size=12), data=st.data())
def test_what_was_appended_can_be_read(parts: list[str], data: st.DataObject) -> None:
    text = SpeechText()
    for part in parts:
        text.append(part, at=0)
    whole = "".join(parts)
    assert len(text) == len(whole)
    end = data.draw(st.integers(0, len(whole)))
    start = data.draw(st.integers(0, end))
    assert text.read(start, end) == whole[start:end]


def test_flushes_are_numbered_and_taken_in_order() -> None:
    text = SpeechText()
    text.append("one", at=0)
    assert text.flush() == 1
    text.append("two", at=0)
    assert (text.flush(), text.flush()) == (2, 3)
    taken = []
    while (position := text.next_flush) is not None:
        taken.append((position, text.take_flush()))
    assert taken == [(3, 1), (6, 2), (6, 3)]


def test_each_code_point_is_overdue_after_its_own_delay() -> None:
    text = SpeechText(max_delay_s=3)
    text.append("", at=0)
    text.append("ab", at=1)
    text.append("c", at=1.001)  # as good as at once
    text.append("d", at=2)
    assert [text.overdue_at(position) for position in range(4)] == [4, 4, 4, 5]
    assert SpeechText.whole("ab").overdue_at(0) is None


def test_every_change_wakes_the_reader() -> None:
    changes = []
    text = SpeechText()
    text.on_change = lambda: changes.append(len(text))
    text.append("ab", at=0)
    text.flush()
    text.end()
    assert changes == [2, 2, 2]
    assert text.is_ended
