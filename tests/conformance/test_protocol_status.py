"""The wire contract of `voiced.v1`: what a subscriber hears of the daemon's state."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from doors import ADDRESS, Door, own_daemon
from texts import SHORT
from wire import Wire


async def subscribe(wire: Wire) -> tuple[int, list[dict[str, Any]]]:
    """Subscribe; return the subscription and the growing list of what it told."""
    subscription = await wire.send("subscribe_status")
    assert (await wire.answer(subscription))["success"]
    return subscription, wire.checker.statuses[subscription]


async def test_a_subscription_tells_the_state_at_once(wire: Wire) -> None:
    _, statuses = await subscribe(wire)
    async with asyncio.timeout(1):
        await wire.until(lambda: statuses != [])
    assert statuses[0]["sessions"] >= 1
    assert statuses[0]["backends"]


async def test_a_change_is_told(wire: Wire) -> None:
    _, statuses = await subscribe(wire)
    speech = await wire.begin(wire.endless())
    await wire.until(lambda: any(status["speaking"] >= 1 for status in statuses))
    await wire.call("speech/cancel", speech=speech.id)
    told = len(statuses)
    await wire.until(lambda: len(statuses) > told)
    if not ADDRESS:  # nobody else speaks
        await wire.until(lambda: statuses[-1]["speaking"] == 0)


async def test_a_session_that_comes_is_told(door: Door, wire: Wire) -> None:
    _, statuses = await subscribe(wire)
    await wire.until(lambda: statuses != [])
    async with door.dial():
        await wire.until(lambda: statuses[-1]["sessions"] > statuses[0]["sessions"])


async def test_changes_are_told_at_most_twice_a_second(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    _, statuses = await subscribe(wire)
    began = loop.time()
    while loop.time() - began < 1.5:
        speech = await wire.begin(wire.endless())
        await wire.until(lambda speech=speech: speech.frames != [])  # type: ignore[misc]
        await wire.call("speech/cancel", speech=speech.id)
    # One at once, two in each second, and one where a second begins.
    assert len(statuses) <= 2 * (loop.time() - began) + 2


async def test_without_a_change_nothing_is_told_again() -> None:
    async with own_daemon() as door, door.dial() as wire:
        _, statuses = await subscribe(wire)
        await wire.listen(1.2)
        assert len(statuses) == 1


async def test_a_status_never_holds_a_text(door: Door, wire: Wire) -> None:
    _, statuses = await subscribe(wire)
    async with door.dial() as other:
        speech = await other.begin("Xylophone. " * 500)
        await other.until(lambda: speech.frames != [])
        await wire.until(lambda: any(status["speaking"] for status in statuses))
    assert "xylophone" not in json.dumps(statuses).lower()


async def test_an_unsubscribed_client_hears_no_more(door: Door, wire: Wire) -> None:
    subscription, statuses = await subscribe(wire)
    await wire.until(lambda: statuses != [])
    await wire.call("unsubscribe_events", subscription=subscription)
    told = len(statuses)
    async with door.dial() as other:
        await other.speak(SHORT)
        await wire.listen(0.8)
    assert len(statuses) == told


async def test_each_subscription_has_its_own_events(wire: Wire) -> None:
    first, of_first = await subscribe(wire)
    _, of_second = await subscribe(wire)
    await wire.until(lambda: of_first != [] and of_second != [])
    await wire.call("unsubscribe_events", subscription=first)
    told = len(of_second)
    await wire.begin(wire.endless())
    await wire.until(lambda: len(of_second) > told)
