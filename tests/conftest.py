"""Guards that hold for every test, and the daemon's parts ready to use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from doors import Door, any_daemon
from hypothesis import settings
from support import WITH_TORCH, Parts, running_parts
from wire import Wire

# The gate tries the same examples whenever it runs; `--hypothesis-profile explore` tries others.
settings.register_profile("gate", derandomize=True)
settings.register_profile("explore", settings.get_profile("default"), derandomize=False)
settings.load_profile("gate")

collect_ignore = [] if WITH_TORCH else ["backends/kokoro/test_torch.py"]


@pytest.fixture(autouse=True)
def no_keys_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key in the environment a test would speak by a provider, and cost."""
    for name in ("OPENAI_API_KEY", "ELEVENLABS_API_KEY", "ALLTALK_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_blocking_on_the_loop() -> Iterator[None]:
    """A blocking call on the event loop raises where it is made, in our code."""
    with blockbuster_ctx("voiced") as guard:
        _allow_what_asyncio_itself_does(guard)
        yield


def _allow_what_asyncio_itself_does(guard: BlockBuster) -> None:
    # aiohttp reads its own source files for nothing at import; our tests read files on purpose.
    for name in ("os.stat", "os.path.abspath", "os.getcwd"):
        if name in guard.functions:
            guard.functions[name].deactivate()


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """A thread that a test started has ended when it has."""
    before = set(threading.enumerate())
    yield
    left = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith("voiced")
    ]
    assert not left, f"threads left running: {left}"


@pytest.fixture(autouse=True)
async def no_leaked_tasks() -> AsyncIterator[None]:
    """A task that a test started has ended when it has."""
    yield
    for _ in range(50):  # callbacks of what was just cancelled
        await asyncio.sleep(0)
    current = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not current and not task.done()]
    left = [task for task in left if "pytest" not in repr(task) and "fixture" not in repr(task)]
    assert not left, f"tasks left running: {left}"


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    """Both doors on free ports, with espeak behind them."""
    async with running_parts() as made:
        yield made


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """Where the tests of the wire contract find a daemon."""
    async with any_daemon() as made:
        yield made


@pytest.fixture
async def wire(door: Door) -> AsyncIterator[Wire]:
    """A session with it, whose every message is checked."""
    async with door.dial() as made:
        yield made
