from __future__ import annotations

from voiced.protocol.outbox import Outbox, Outgoing


def texts(outbox: Outbox) -> list[list[str | bytes]]:
    popped = []
    while batch := outbox.pop():
        popped.append([message.data for message in batch])
    return popped


def test_control_goes_first_then_priority_then_age() -> None:
    outbox = Outbox()
    normal, also, high = outbox.open(1), outbox.open(1), outbox.open(0)
    for queue, name in ((normal, "a"), (also, "b"), (normal, "c"), (high, "d")):
        outbox.put(queue, Outgoing(name))
    outbox.put_control("e")
    assert outbox.control_backlog == 1
    assert texts(outbox) == [["e"], ["d"], ["a"], ["b"], ["c"]]


def test_a_window_lets_nothing_through_that_is_beyond_it() -> None:
    outbox = Outbox()
    queue = outbox.open(1, limit=100)
    for samples in (60, 40, 1):
        outbox.put(queue, Outgoing(b"", samples))
    assert not queue.fits
    assert len(texts(outbox)) == 2
    assert (queue.sent, queue.waiting, queue.is_blocked) == (100, 1, True)
    queue.limit = 101
    assert queue.fits
    assert len(texts(outbox)) == 1
    assert not queue.is_blocked


def test_what_is_removed_is_never_sent() -> None:
    outbox = Outbox()
    queue = outbox.open(1)
    outbox.put(queue, Outgoing("a"))
    outbox.remove(queue)
    assert texts(outbox) == []


def test_texts_may_go_as_one_and_frames_go_alone() -> None:
    outbox = Outbox()
    queue = outbox.open(1)
    for data in ("a", "b", b"1", b"2", "c"):
        outbox.put(queue, Outgoing(data))
    outbox.may_batch = True
    outbox.put_control("d")
    assert texts(outbox) == [["d", "a", "b"], [b"1"], [b"2"], ["c"]]


def test_a_batch_is_no_longer_than_a_client_will_read() -> None:
    outbox = Outbox()
    outbox.may_batch = True
    for size in (20_000, 20_000, 100_000, 5):
        outbox.put_control("x" * size)
    assert [[len(text) for text in batch] for batch in texts(outbox)] == [
        [20_000],
        [20_000],
        [100_000],
        [5],
    ]
