"""Whose turn it is, on virtual time: engines here take as long as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import RATE, Options
from virtual import run

from voiced.backends.base import Emit
from voiced.speech import PcmChunk, Priority, Segment, Voice
from voiced.synthesis.lane import Engine, Lane

T = TypeVar("T")

VOICE = Voice("one", "One", ("en",), RATE)
SEGMENT = Segment(0, "", 0, 0, VOICE, None, 1.0, Options())
ABORT_S = 0.01  # that an interrupted computation still takes
AUDIO_S = 0.1  # that a character sounds
FACTOR = 0.2  # work for a second of audio


@dataclass
class Work:
    """A function that was given to the workers."""

    future: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None


class VirtualWorkers:
    """Run what they are given at once; what `compute` asks for passes on the loop's clock."""

    def __init__(self) -> None:
        self.most_at_work = 0
        self.error: Exception | None = None  # of the next one that is interrupted
        self._at_work: list[Work] = []

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        work = Work(asyncio.get_running_loop().create_future())
        self._at_work.append(work)
        self.most_at_work = max(self.most_at_work, len(self._at_work))
        result, error = None, None
        try:
            result = function()
        except ArithmeticError as raised:
            error = raised
        if work.timer is None:
            self._end(work, result, error)
        return work.future

    def are_alive(self) -> bool:
        return True

    async def close(self) -> None: ...

    def compute(self, seconds: float, emit: Emit, chunk: PcmChunk, *, may_overlap: bool) -> None:
        """Be busy, then give a chunk; unless interrupted."""
        loop = asyncio.get_running_loop()
        work = self._at_work[-1]

        def give() -> None:
            emit(chunk)
            self._end(work)

        def interrupt() -> None:
            assert work.timer is not None
            if work.future.done():  # and the lane has not heard of it
                return
            work.timer.cancel()
            error, self.error = self.error, None
            work.timer = loop.call_later(ABORT_S, self._end, work, None, error)

        work.timer = loop.call_later(seconds, give)
        emit.interrupt_by(interrupt, may_overlap=may_overlap)

    def _end(self, work: Work, result: object = None, error: Exception | None = None) -> None:
        self._at_work.remove(work)
        if error:
            work.future.set_exception(error)
        elif not work.future.done():
            work.future.set_result(result)


@dataclass
class Heard:
    """What became of one segment."""

    name: str
    first_at: float
    samples: int


@dataclass
class Home:
    """A lane with one engine, and what it did: (name, when it began, when it was given)."""

    workers: VirtualWorkers = field(default_factory=VirtualWorkers)
    begun: list[tuple[str, float]] = field(default_factory=list)
    factor: float = FACTOR
    may_overlap: bool = False  # what is interrupted need not be waited for

    def __post_init__(self) -> None:
        self.lane = Lane(workers=self.workers)
        self.engine: Engine = self.lane.engine()

    def synthesize(self, segment: Segment, emit: Emit) -> None:
        self.begun.append((segment.options.name, asyncio.get_running_loop().time()))
        audio_s = len(segment.text) * AUDIO_S
        chunk = PcmChunk(np.zeros(round(audio_s * RATE), np.float32))
        seconds = audio_s * self.factor
        self.workers.compute(seconds, emit, chunk, may_overlap=self.may_overlap)

    async def measured(self) -> Home:
        """Let the lane know the engine's pace."""
        await self.speak("warm-up", 10)
        self.begun.clear()
        return self

    async def speak(
        self,
        name: str,
        characters: int,
        *,
        due: float = 0.0,
        priority: Priority = Priority.NORMAL,
    ) -> Heard:
        segment = replace(
            SEGMENT, text="x" * characters, due=due, priority=priority, options=Named(name)
        )
        first_at, samples = None, 0
        async for chunk in self.engine.stream(segment, self.synthesize):
            first_at = first_at or asyncio.get_running_loop().time()
            samples += chunk.samples.size
        assert first_at is not None
        return Heard(name, first_at, samples)

    def start(self, name: str, characters: int, **keys: Any) -> asyncio.Task[Heard]:
        return asyncio.create_task(self.speak(name, characters, **keys))

    def names(self) -> list[str]:
        return [name for name, _ in self.begun]


@dataclass(frozen=True)
class Named:
    name: str


def on_virtual_time(
    main: Callable[[Home], Coroutine[Any, Any, None]], *, may_overlap: bool = False
) -> None:
    async def measured() -> None:
        await main(await Home(may_overlap=may_overlap).measured())

    run(measured())


def test_one_slow_run_says_nothing_of_how_fast_an_engine_is() -> None:
    async def main(home: Home) -> None:
        home.factor = 50.0  # the machine slept
        await home.speak("slow", 10)
        assert home.engine.real_time_factor == pytest.approx(FACTOR)
        for _ in range(3):
            await home.speak("slow", 10)
        assert home.engine.real_time_factor == pytest.approx(50)

    on_virtual_time(main)


def test_an_engine_that_gives_nothing_for_two_minutes_is_a_trouble() -> None:
    async def main(home: Home) -> None:
        home.factor = 1000.0
        task = home.start("hangs", 10)
        await asyncio.sleep(119)
        assert home.lane.trouble() is None
        await asyncio.sleep(2)
        assert home.lane.trouble() == "A local engine has computed for 121 s and gives nothing."
        await task
        assert home.lane.trouble() is None

    on_virtual_time(main)


def test_what_takes_longer_than_expected_is_stopped_for_what_is_urgent() -> None:
    async def main(home: Home) -> None:
        home.factor = 20 * FACTOR
        slow = home.start("slow", 10, due=100.0)  # 4 s, expected to take 0.2
        await asyncio.sleep(0.15)
        high = home.start("high", 1, priority=Priority.HIGH)  # which waits for the last 0.05 s
        await asyncio.gather(high, slow)
        assert home.names() == ["slow", "high", "slow"]
        assert home.begun[1][1] - home.begun[0][1] < 0.3

    on_virtual_time(main)


def test_digits_take_as_long_as_they_are_read() -> None:
    async def main(home: Home) -> None:
        letters, digits = (home.engine.pace.expected_s(c * 10) for c in "x7")
        assert digits == 5 * letters

    on_virtual_time(main)


def test_a_closed_lane_ends_what_waits() -> None:
    async def main() -> None:
        home = await Home().measured()
        tasks = [home.start("one", 10), home.start("two", 10)]
        await asyncio.sleep(0.01)
        await home.lane.close()
        done, left = await asyncio.wait(tasks, timeout=10)
        assert not left
        assert all(isinstance(task.exception(), AssertionError) for task in done)  # no audio
        assert home.names() == ["one"]

    run(main())


def test_the_pace_is_measured() -> None:
    async def main(home: Home) -> None:
        assert home.engine.real_time_factor == pytest.approx(FACTOR)
        assert home.engine.pace.expected_s("x" * 50) == pytest.approx(50 * AUDIO_S * FACTOR)

    on_virtual_time(main)


def test_a_due_segment_stops_one_whose_listener_has_enough() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now + 10)  # 2 s of work
        await asyncio.sleep(0.5)
        reply = await home.start("reply", 20, due=now + 0.5)  # 0.4 s
        assert reply.first_at - now == pytest.approx(0.5 + ABORT_S + 0.4)
        heard = await story
        assert heard.samples == 10 * RATE
        assert heard.first_at - now == pytest.approx(0.5 + ABORT_S + 0.4 + 2)
        assert home.names() == ["story", "reply", "story"]

    on_virtual_time(main)


def test_a_segment_that_would_come_too_late_is_not_stopped() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now + 3.1)  # again and with the reply: 3.4 s
        await asyncio.sleep(0.5)
        reply = await home.start("reply", 20, due=now + 0.5)
        assert reply.first_at - now == pytest.approx(2.4)
        await story
        assert home.names() == ["story", "reply"]

    on_virtual_time(main)


def test_a_segment_that_is_nearly_done_is_not_stopped() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now + 100)
        await asyncio.sleep(1.95)
        await home.start("reply", 20, due=now + 1.95)
        await story
        assert home.names() == ["story", "reply"]

    on_virtual_time(main)


def test_a_segment_that_is_stopped_again_and_again_comes_in_time() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now + 12)
        replies = []
        for number in range(20):
            await asyncio.sleep(0.7)
            due = asyncio.get_running_loop().time()
            replies.append(home.start(f"reply {number}", 20, due=due))
        heard = await story
        assert heard.first_at - now < 12
        assert heard.samples == 10 * RATE
        begun = home.names()
        assert begun.count("story") > 3
        await asyncio.gather(*replies)
        assert all(begun.count(f"reply {number}") <= 1 for number in range(20))

    on_virtual_time(main)


def test_a_high_priority_stops_any_normal_one() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        first = home.start("first", 100, due=now)  # nothing in hand
        await asyncio.sleep(0.5)
        alarm = await home.start("alarm", 20, due=now + 0.5, priority=Priority.HIGH)
        assert alarm.first_at - now == pytest.approx(0.5 + ABORT_S + 0.4)
        await first
        assert home.names() == ["first", "alarm", "first"]

    on_virtual_time(main)


def test_a_cancel_frees_the_lane_at_once() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now)
        waiting = home.start("waiting", 20, due=now + 1)
        await asyncio.sleep(0.5)
        story.cancel()
        heard = await waiting
        assert heard.first_at - now == pytest.approx(0.5 + ABORT_S + 0.4)
        await asyncio.gather(story, return_exceptions=True)

    on_virtual_time(main)


def test_the_lane_need_not_wait_for_what_is_interrupted() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        story = home.start("story", 100, due=now)
        waiting = home.start("waiting", 20, due=now + 1)
        await asyncio.sleep(0.5)
        story.cancel()
        heard = await waiting
        assert heard.first_at - now == pytest.approx(0.5 + 0.4)
        assert home.workers.most_at_work == 2
        await asyncio.gather(story, return_exceptions=True)

    on_virtual_time(main, may_overlap=True)


def test_no_more_than_one_is_not_waited_for() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        stories = [home.start(f"story {n}", 100, due=now + n) for n in range(5)]
        await asyncio.sleep(0.5)
        for story in stories:
            story.cancel()
            await asyncio.sleep(0)
        heard = await home.speak("reply", 20)
        assert heard.first_at - now == pytest.approx(0.5 + ABORT_S + 0.4)
        assert home.workers.most_at_work == 2
        await asyncio.gather(*stories, return_exceptions=True)

    on_virtual_time(main, may_overlap=True)


@pytest.mark.parametrize("may_overlap", [False, True])
def test_a_call_runs_between_segments(*, may_overlap: bool) -> None:
    async def main(home: Home) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        story = home.start("story", 20, due=now)
        later = home.start("later", 20, due=now + 1)
        await asyncio.sleep(0.1)
        assert await home.lane.call(loop.time) == pytest.approx(now + 0.4)
        call = asyncio.create_task(home.lane.call(loop.time))
        await asyncio.sleep(0)
        call.cancel()  # before its turn
        with pytest.raises(ZeroDivisionError):
            await home.lane.call(lambda: 1 // 0)
        assert (await later).first_at - now == pytest.approx(0.8)
        await story
        assert home.workers.most_at_work == 1

    on_virtual_time(main, may_overlap=may_overlap)


def test_an_engine_may_fail_when_it_is_interrupted() -> None:
    async def main(home: Home) -> None:
        now = asyncio.get_running_loop().time()
        home.workers.error = RuntimeError("interrupted")
        story = home.start("story", 100, due=now + 100)
        await asyncio.sleep(0.5)
        await home.start("reply", 20, due=now + 0.5)
        assert (await story).samples == 10 * RATE

    on_virtual_time(main)


async def listen(home: Home, name: str, sizes: list[int]) -> float:
    """Play segments as they come, each asked for when the one before it is there.

    Returns the longest silence within.
    """
    loop = asyncio.get_running_loop()
    played_until, worst = loop.time(), 0.0
    for index, size in enumerate(sizes):
        heard = await home.speak(f"{name}/{index}", size, due=played_until)
        if index:
            worst = max(worst, heard.first_at - played_until)
        played_until = max(played_until, heard.first_at) + size * AUDIO_S
    return worst


def test_long_texts_do_not_starve_a_reply_nor_run_dry() -> None:
    async def main(home: Home) -> None:
        loop = asyncio.get_running_loop()
        growing = [40, 60, 80, *[100] * 12]
        stories = [asyncio.create_task(listen(home, f"story {n}", growing)) for n in range(3)]
        await asyncio.sleep(10)  # until each has something in hand
        for _ in range(5):
            await asyncio.sleep(3.7)
            began = loop.time()
            reply = await home.speak("reply", 40, due=began)
            assert reply.first_at - began <= 1.4 * 40 * AUDIO_S * FACTOR
        assert await asyncio.gather(*stories) == [0.0, 0.0, 0.0]

    on_virtual_time(main)


def test_replies_at_the_same_time_begin_one_after_the_other() -> None:
    async def main(home: Home) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        firsts: list[float] = []

        async def reply(number: int) -> None:
            due = loop.time()
            for index, size in enumerate([40, 60, 80]):
                heard = await home.speak(f"{number}/{index}", size, due=due)
                if index == 0:
                    firsts.append(heard.first_at - now)
                due = max(due, heard.first_at) + size * AUDIO_S

        await asyncio.gather(*(reply(number) for number in range(4)))
        assert firsts == pytest.approx([0.8, 1.6, 2.4, 3.2])

    on_virtual_time(main)


Order = tuple[float, int, float, bool, bool]  # after s, characters, in hand s, high, cancelled


@settings(max_examples=200, deadline=None)
@given(
    may_overlap=st.booleans(),
    orders=st.lists(
        st.tuples(
            st.floats(0, 3),
            st.integers(1, 120),
            st.floats(0, 30),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    ),
)
@example(  # two that were stopped come back together, and the less urgent one first
    may_overlap=True,
    orders=[(0.0, 5, 2.0, False, False), (0.0, 5, 1.0, False, False), (0.0, 1, 0.0, False, True)],
)
def test_no_segment_is_lost_and_what_was_stopped_is_done_once_more(
    orders: list[Order], *, may_overlap: bool
) -> None:
    async def main(home: Home) -> None:
        loop = asyncio.get_running_loop()
        tasks: list[tuple[asyncio.Task[Heard], int, bool]] = []
        for number, (after_s, characters, hand_s, is_high, is_cancelled) in enumerate(orders):
            await asyncio.sleep(after_s)
            task = home.start(
                str(number),
                characters,
                due=loop.time() + hand_s,
                priority=Priority.HIGH if is_high else Priority.NORMAL,
            )
            tasks.append((task, characters, is_cancelled))
            if is_cancelled:
                loop.call_later(hand_s / 10, task.cancel)
        outcomes = await asyncio.gather(*(t for t, _, _ in tasks), return_exceptions=True)
        for outcome, (_, characters, is_cancelled) in zip(outcomes, tasks, strict=True):
            if isinstance(outcome, Heard):
                assert outcome.samples == round(characters * AUDIO_S * RATE)
            else:
                assert is_cancelled
        assert home.lane.queued == 0
        stops = len(home.names()) - len(set(home.names()))
        assert stops <= home.lane.preemptions
        # Each that came stopped one at most; so did each that was stopped for one that left.
        assert stops < len(orders) + sum(is_cancelled for *_, is_cancelled in orders)
        assert home.workers.most_at_work <= 1 + may_overlap

    on_virtual_time(main, may_overlap=may_overlap)
