"""The configured backends: made at most once each, known by their state, closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from voiced.backends.base import BackendSettings, TTSBackendBase
from voiced.backends.registry import BackendRegistry
from voiced.errors import BackendUnavailable, VoicedError
from voiced.request import BackendState
from voiced.synthesis.lane import Engine, Lane
from voiced.synthesis.pace import FAST_ENOUGH

log = logging.getLogger(__name__)

_WORDS = "One, two, three."  # to nobody

AUTO = "auto"
"""Stands for the best local backend; the id that `best_local` returns where there is none."""

_LOOK_AFTER_S = 1  # between two looks for the files of a backend, if anybody asks for it
_MEASURE_AFTER_S = 60  # an engine that was too slow is measured again, if anybody asks for auto
_RETRY_AFTER_S = 30  # an unavailable backend is tried again after this, not at every request


@dataclass(slots=True)
class _Slot:
    """A configured backend, before, while and after it is loaded."""

    settings: BackendSettings
    kind: type[TTSBackendBase] | None
    opening: asyncio.Task[TTSBackendBase] | None = None
    problem: str | None = None  # why it is unavailable, and the cure
    engine: Engine | None = None  # its place on the lane, once it was loaded
    users: int = 0
    idle_timer: asyncio.TimerHandle | None = None
    retry_at: float | None = None  # event loop time; None: its code does not import
    lack: str | None = None  # what must come before it can be loaded, and the cure
    looking: asyncio.Task[None] | None = None  # whether that has come
    look_at: float = 0.0  # event loop time of the next look
    measuring: asyncio.Task[None] | None = None  # whether it is still too slow
    measure_at: float = 0.0  # event loop time of the next measurement

    @property
    def backend(self) -> TTSBackendBase | None:
        """The loaded backend."""
        opening = self.opening
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return None
        return opening.result()


class BackendPool:
    """Backends by id. For one event loop; `close` is the owner's duty."""

    def __init__(
        self,
        backends: Mapping[str, BackendSettings],
        *,
        registry: BackendRegistry,
        lane: Lane,
        idle_unload_s: float = 0,
        unasked: frozenset[str] = frozenset(),
    ) -> None:
        """Make nothing yet; a local backend idle for `idle_unload_s` is unloaded, 0 never.

        `unasked` are those that nobody configured: what they lack is no fault.
        """
        self._unasked = unasked
        self.trouble = lane.trouble
        self._lane = lane
        self._idle_unload_s = idle_unload_s
        self._unloading: set[asyncio.Task[None]] = set()
        self._slots = {name: _slot(settings, registry) for name, settings in backends.items()}

    def ids(self) -> list[str]:
        """Return the configured ids."""
        return list(self._slots)

    def import_packages(self, backend_id: str) -> None:
        """Import what a backend needs, if it is configured and its code imports."""
        slot = self._slots.get(backend_id)
        if slot and slot.kind:
            slot.kind.import_packages(slot.settings)

    def kind(self, backend_id: str) -> type[TTSBackendBase] | None:
        """Return the class of a backend, if it is configured and its code imports."""
        slot = self._slots.get(backend_id)
        return slot.kind if slot else None

    def fallback(self, backend_id: str) -> str | None:
        """Return the model that a backend's settings name to speak for it, where they do."""
        slot = self._slots.get(backend_id)
        return slot.settings.fallback if slot else None

    def loaded(self, backend_id: str) -> TTSBackendBase | None:
        """Return the backend if it is loaded."""
        slot = self._slots.get(backend_id)
        return slot.backend if slot else None

    def problem(self, backend_id: str) -> BackendUnavailable | None:
        """Say why a backend cannot be used now, as far as is known without trying."""
        slot = self._slots.get(backend_id)
        if slot is None and backend_id == AUTO:
            return BackendUnavailable(
                "No local backend can speak; add a section [backends.espeak] to config.toml."
            )
        if slot is None:
            return BackendUnavailable(
                f"The backend {backend_id!r} is not configured; "
                f'add a section [backends."{backend_id}"] to config.toml.'
            )
        if slot.opening is None:
            self._look_again(slot)
            if slot.lack:
                return BackendUnavailable(slot.lack)
        is_due = slot.retry_at is not None and asyncio.get_running_loop().time() >= slot.retry_at
        problem = None if is_due else slot.problem
        if slot.backend:
            problem = slot.backend.trouble()
        return BackendUnavailable(problem) if problem else None

    def _look_again(self, slot: _Slot) -> None:
        """Find out, for the next who asks, whether what the backend lacks has come or gone."""
        loop = asyncio.get_running_loop()
        if slot.kind and not slot.looking and loop.time() >= slot.look_at:
            slot.look_at = loop.time() + _LOOK_AFTER_S
            slot.looking = asyncio.create_task(_look(slot), name=f"look for {slot.settings.type}")

    def state(self, backend_id: str) -> BackendState:
        """Return what the backend could do if asked now."""
        if self.problem(backend_id):
            return BackendState.UNAVAILABLE
        slot = self._slots[backend_id]
        if slot.opening is None:
            return BackendState.IDLE
        return BackendState.READY if slot.backend else BackendState.LOADING

    def is_whole(self) -> bool:
        """Tell whether every backend can be used, but for those that nobody fetched or set up."""
        return not any(
            self.problem(name)
            for name, slot in self._slots.items()
            if not (slot.lack and name in self._unasked)
        )

    def real_time_factor(self, backend_id: str) -> float | None:
        """Return the seconds of work for a second of audio, to a hundredth, where it was measured.

        Only the lane measures: None for a backend that is not local.
        """
        engine = self._slots[backend_id].engine
        factor = engine.real_time_factor if engine else None
        return None if factor is None else round(factor, 2)

    def real_time_factors(self) -> dict[str, float]:
        """Return `real_time_factor` of all of which it is known."""
        factors = {name: self.real_time_factor(name) for name in self._slots}
        return {name: factor for name, factor in factors.items() if factor is not None}

    def best_local(self) -> str:
        """Return the best local backend that can speak at once; the best one where none is loaded.

        One that was seen to be too slow for this machine speaks only where there is no other.
        """
        return next(iter(self.locals()), AUTO)

    def locals(self) -> list[str]:
        """Return the local backends that can be used, as `best_local` prefers them."""
        usable = self._usable_locals()
        return sorted(usable, key=lambda backend_id: self.loaded(backend_id) is None)

    def prepare_best_local(self) -> None:
        """Load the best local backend, and measure again those that were slow, for next time."""
        if usable := self._usable_locals():
            self._opening(usable[0])
        now = asyncio.get_running_loop().time()
        for slot in self._slots.values():
            if (
                slot.backend
                and not _is_fast(slot)
                and not slot.measuring
                and now >= slot.measure_at
            ):
                slot.measure_at = now + _MEASURE_AFTER_S
                name = f"measure {slot.settings.type}"
                slot.measuring = asyncio.create_task(self._measure(slot), name=name)

    async def _measure(self, slot: _Slot) -> None:
        try:
            if backend := slot.backend:
                await backend.warm_up(_WORDS)
        except VoicedError as error:
            log.warning("backend type %s was not measured: %s", slot.settings.type, error.message)
        finally:
            slot.measuring = None

    def _usable_locals(self) -> list[str]:
        """Return the local backends that can be used, the best first."""
        usable = [
            (_is_fast(slot), slot.kind.quality, name)
            for name, slot in self._slots.items()
            if slot.kind and slot.kind.is_local and not self.problem(name)
        ]
        usable.sort(key=lambda entry: entry[:2], reverse=True)
        return [name for *_, name in usable]

    async def get(self, backend_id: str) -> TTSBackendBase:
        """Return the backend, loading it if need be: once, however many ask meanwhile.

        Raises:
            BackendUnavailable: it is not configured, or cannot work; the message says the cure.
        """
        if problem := self.problem(backend_id):
            raise problem
        # Shielded: one client that goes away does not stop the loading for the others.
        return await asyncio.shield(self._opening(backend_id))

    async def refresh(self, backend_id: str) -> None:
        """Let a loaded backend look again which voices it has."""
        if backend := self.loaded(backend_id):
            try:
                await backend.refresh()
            except VoicedError as error:
                log.warning("%s keeps the voices it knew: %s", backend_id, error.message)

    def _opening(self, backend_id: str) -> asyncio.Task[TTSBackendBase]:
        slot = self._slots[backend_id]
        if slot.opening is None:
            slot.opening = asyncio.create_task(
                self._open(backend_id, slot), name=f"load {backend_id}"
            )
            slot.opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return slot.opening

    @contextmanager
    def using(self, backend_id: str) -> Iterator[None]:
        """Keep a loaded backend loaded while the block runs."""
        slot = self._slots[backend_id]
        slot.users += 1
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
        try:
            yield
        finally:
            slot.users -= 1
            self._watch_idling(slot)

    def _watch_idling(self, slot: _Slot) -> None:
        """Unload a local backend when nobody has used it for a while."""
        if not slot.users and self._idle_unload_s and slot.kind and slot.kind.is_local:
            loop = asyncio.get_running_loop()
            slot.idle_timer = loop.call_later(self._idle_unload_s, self._unload, slot)

    def _unload(self, slot: _Slot) -> None:
        backend, slot.opening, slot.idle_timer = slot.backend, None, None
        if backend is not None:
            log.info("backend type %s unloaded after being idle", slot.settings.type)
            task = asyncio.create_task(_close(backend), name=f"unload {slot.settings.type}")
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    async def close(self) -> None:
        """Close every backend. None may be speaking."""
        for slot in self._slots.values():
            if slot.idle_timer is not None:
                slot.idle_timer.cancel()
        looking = [slot.looking for slot in self._slots.values() if slot.looking]
        measuring = [slot.measuring for slot in self._slots.values() if slot.measuring]
        for task in measuring:
            task.cancel()
        await asyncio.gather(*measuring, return_exceptions=True)
        await asyncio.gather(*self._unloading, *looking)
        slots = [slot for slot in self._slots.values() if slot.opening is not None]
        for slot in slots:
            if slot.opening is not None and not slot.opening.done():
                slot.opening.cancel()
        await asyncio.gather(*(s.opening for s in slots if s.opening), return_exceptions=True)
        for slot in slots:
            backend, slot.opening = slot.backend, None
            if backend is not None:
                await _close(backend)

    async def _open(self, backend_id: str, slot: _Slot) -> TTSBackendBase:
        assert slot.kind is not None
        slot.engine = slot.engine or self._lane.engine()
        try:
            backend = slot.kind(slot.settings, lane=slot.engine)
            await backend.initialize()
            usual = backend.usual_voice().id
            has_wanted = not slot.settings.voice or backend.find_voice(slot.settings.voice)
        except Exception as error:
            problem = _as_problem(error, slot.settings.type)
            slot.problem, slot.opening = problem.message, None
            slot.retry_at = asyncio.get_running_loop().time() + _RETRY_AFTER_S
            log.warning("backend %s is unavailable: %s", backend_id, problem.message)
            raise problem from error
        slot.problem = None
        if not has_wanted:
            wanted = slot.settings.voice
            log.warning("%s has no voice %r as configured; %r speaks", backend_id, wanted, usual)
        self._watch_idling(slot)
        return backend


async def _close(backend: TTSBackendBase) -> None:
    try:
        await backend.close()
    except Exception:  # it is let go of all the same
        log.exception("backend type %s did not close", backend.settings.type)


def _is_fast(slot: _Slot) -> bool:
    factor = slot.engine.real_time_factor if slot.engine else None
    return factor is None or factor < FAST_ENOUGH


async def _look(slot: _Slot) -> None:
    assert slot.kind is not None
    try:
        slot.lack = await asyncio.to_thread(_lack, slot.kind, slot.settings)
    finally:
        slot.looking = None


def _lack(kind: type[TTSBackendBase], settings: BackendSettings) -> str | None:
    try:
        return kind.missing(settings)
    except Exception as error:  # noqa: BLE001  # a plug-in may fail in any way
        return _as_problem(error, settings.type).message


def _slot(settings: BackendSettings, registry: BackendRegistry) -> _Slot:
    try:
        kind = registry.load(settings.type)
        return _Slot(settings, kind, lack=_lack(kind, settings))
    except BackendUnavailable as problem:
        log.warning("backend type %s does not load: %s", settings.type, problem.message)
        return _Slot(settings, None, problem=problem.message)


def _as_problem(error: Exception, kind: str) -> BackendUnavailable:
    if isinstance(error, BackendUnavailable):
        return error
    if isinstance(error, VoicedError):
        return BackendUnavailable(error.message)
    log.error("backend type %s failed to load", kind, exc_info=error)
    return BackendUnavailable(
        f"The backend failed to load ({type(error).__name__}); see the daemon's log."
    )
