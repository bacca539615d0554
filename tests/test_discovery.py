"""The advertisement and the search, over real multicast on the loopback."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from support import eventually
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from voiced.discovery import SERVICE, Advertisement, Advertiser, discover, real_addresses

LOOPBACK = ["127.0.0.1"]
KITCHEN = Advertisement(
    server_id="ab" * 16,
    name="voiced in the kitchen",
    version="0.1.0",
    needs_token=True,
    websocket=("0.0.0.0", 8765),
    http_port=8880,
)


@asynccontextmanager
async def advertised(advertisement: Advertisement) -> AsyncIterator[asyncio.Task[None]]:
    advertiser = Advertiser(advertisement, find_addresses=lambda _: LOOPBACK)
    task = asyncio.create_task(advertiser.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_is_advertised_is_found() -> None:
    async with advertised(KITCHEN):
        search = discover(10, interfaces=LOOPBACK)
        found = await anext(search)
        await search.aclose()
    assert found.name == "voiced in the kitchen"
    assert found.url == "ws://127.0.0.1:8765/v1/ws"
    assert found.http_url == "http://127.0.0.1:8880/v1"
    assert found.needs_token
    assert found.txt == {
        "txtvers": "1",
        "proto": "1",
        "id": "ab" * 16,
        "path": "/v1/ws",
        "ver": "0.1.0",
        "auth": "token",
        "http": "8880",
        "oai": "/v1",
    }


async def test_it_is_withdrawn_when_the_daemon_stops() -> None:
    changes: asyncio.Queue[ServiceStateChange] = asyncio.Queue()

    def on_change(state_change: ServiceStateChange, **_: object) -> None:
        changes.put_nowait(state_change)

    async with AsyncZeroconf(interfaces=LOOPBACK) as watching:
        browser = AsyncServiceBrowser(watching.zeroconf, SERVICE, handlers=[on_change])
        async with advertised(replace(KITCHEN, name="a short visit")):
            while await asyncio.wait_for(changes.get(), 10) is not ServiceStateChange.Added:
                pass
        while await asyncio.wait_for(changes.get(), 10) is not ServiceStateChange.Removed:
            pass
        await browser.async_cancel()


async def test_home_assistant_finds_wyoming() -> None:
    at_home = replace(KITCHEN, wyoming=("0.0.0.0", 10210))
    async with advertised(at_home), AsyncZeroconf(interfaces=LOOPBACK) as searching:
        info = AsyncServiceInfo("_wyoming._tcp.local.", "voiced-abababab._wyoming._tcp.local.")
        for _ in range(10):
            if await info.async_request(searching.zeroconf, 1000):
                break
        assert info.port == 10210
        assert info.parsed_addresses() == LOOPBACK
        search = discover(10, interfaces=LOOPBACK)
        assert (await anext(search)).txt["wy"] == "10210"
        await search.aclose()


async def test_only_what_others_can_reach_is_advertised() -> None:
    at_home = replace(KITCHEN, websocket=("127.0.0.1", 8765), wyoming=("0.0.0.0", 10210))
    assert [service.port for service in at_home.services(1)] == [10210]


async def test_a_copied_id_is_told(caplog: pytest.LogCaptureFixture) -> None:
    at_home = replace(KITCHEN, wyoming=("0.0.0.0", 10210))
    caplog.set_level(logging.INFO)
    async with advertised(at_home):
        await eventually(lambda: "advertised as" in caplog.text)
        async with advertised(replace(at_home, name="another", wyoming=("0.0.0.0", 10211))):
            await eventually(lambda: "has the same id" in caplog.text, seconds=10)


async def names_found(count: int) -> set[str]:
    names: set[str] = set()
    async for found in discover(20, interfaces=LOOPBACK):
        names.add(found.name)
        if len(names) == count:
            break
    return names


async def test_whoever_comes_second_takes_another_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with advertised(KITCHEN):
        await eventually(lambda: "advertised as" in caplog.text)
        async with advertised(replace(KITCHEN, server_id="cd" * 16)):
            names = await names_found(2)
    assert names == {"voiced in the kitchen", "voiced in the kitchen-2"}


async def test_two_that_come_at_once_are_both_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # zeroconf waits at random before it probes, so that this is rare.
    monkeypatch.setattr("zeroconf._core._PROBE_RANDOM_DELAY_INTERVAL", (150, 150))
    async with advertised(KITCHEN), advertised(replace(KITCHEN, server_id="cd" * 16)):
        names = await names_found(2)
    assert names == {"voiced in the kitchen", "voiced in the kitchen-2"}


async def test_the_loopback_is_not_advertised() -> None:
    async with advertised(replace(KITCHEN, websocket=("127.0.0.1", 8765))) as task:
        await asyncio.wait_for(task, 1)


# python-zeroconf leaves the sockets open that it made before one failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_failure_to_publish_leaves_the_daemon_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    advertiser = Advertiser(KITCHEN, find_addresses=lambda _: ["203.0.113.7"])
    task = asyncio.create_task(advertiser.run())
    await eventually(lambda: "not advertised" in caplog.text)
    assert "the daemon serves on" in caplog.text
    assert not task.done()
    assert caplog.text.count("not advertised") == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    gc.collect()  # here, where the warning is expected


async def test_addresses_that_cannot_be_told_are_asked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_host: str) -> list[str]:
        raise OSError

    advertiser = Advertiser(KITCHEN, find_addresses=fail)
    task = asyncio.create_task(advertiser.run())
    await eventually(lambda: "no network interface" in caplog.text)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("name", ["x" * 100, "dots.in.a.name", "Küche 🍳" * 10])
async def test_any_name_can_be_published(name: str) -> None:
    async with advertised(replace(KITCHEN, name=name)):
        search = discover(10, interfaces=LOOPBACK)
        assert (await anext(search)).server_id == KITCHEN.server_id
        await search.aclose()


def test_a_wildcard_is_never_published_as_such() -> None:
    assert real_addresses("192.168.1.7") == ["192.168.1.7"]
    for host in ("0.0.0.0", "::"):
        assert not {"0.0.0.0", "::", "127.0.0.1", "::1"} & set(real_addresses(host))


async def test_an_address_that_went_and_came_back_is_advertised_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voiced.discovery._ADDRESSES_EVERY_S", 0.05)
    caplog.set_level(logging.INFO)
    addresses = list(LOOPBACK)
    advertiser = Advertiser(KITCHEN, find_addresses=lambda _: list(addresses))
    task = asyncio.create_task(advertiser.run())
    await eventually(lambda: "advertised as" in caplog.text)
    addresses.clear()
    await eventually(lambda: "no network interface" in caplog.text)
    caplog.clear()
    addresses += LOOPBACK
    await eventually(lambda: "advertised as" in caplog.text)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
