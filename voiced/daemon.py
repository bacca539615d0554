"""The daemon: makes the parts, opens the doors, and leaves in good order."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from voiced import __version__
from voiced.config import EMBEDDED, is_loopback, state_folder
from voiced.doors import Door, Doors, DoorTakenError, listen
from voiced.errors import BackendUnavailable, ConfigError, VoicedError
from voiced.metrics import Metrics
from voiced.protocol.greeting import Greeting, SessionLimits
from voiced.protocol.wyoming import TextLimits
from voiced.readings import readings
from voiced.service import ServiceManager
from voiced.settings import Settings, Sources
from voiced.synthesis.report import SpeechReport
from voiced.transports.http import HttpDoor
from voiced.transports.ws import WebSocketDoor
from voiced.transports.wyoming import WyomingDoor

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between two looks at the lane
_CLOSE_S = 5  # for local engines to end
_PORT_S = 2  # between two tries for a port that is taken


class EngineLostError(VoicedError):
    """A native library ended a thread of the lane; only a new process has one again."""


class Daemon:
    """All parts of a running voiced. Made before the event loop, which `run` belongs to."""

    def __init__(
        self, settings: Settings, sources: Sources, *, service: ServiceManager | None = None
    ) -> None:
        """Make every part, and read or make the daemon's id; `sources` are for a reload."""
        self._sources = sources
        self._service = service or ServiceManager()
        self._waits_for = self._not_reloaded = ""  # what to say first of how it goes
        self._config = settings.config
        self._server_id = server_id()
        self._metrics = Metrics()
        self._lane = settings.lane()
        self._phrase_store = settings.phrase_store(os.environ)
        self._manager = settings.manager(self._lane, self._report, phrase_store=self._phrase_store)
        self._preloads = [EMBEDDED, *self._config.defaults.preload]
        policy = settings.policy()
        self._websocket = WebSocketDoor(
            self._manager,
            policy=policy,
            greeting=self._greeting(),
            max_sessions=self._config.limits.max_sessions,
        )
        self._http = HttpDoor(
            self._manager,
            policy=policy,
            metrics=self._metrics,
            version=__version__,
            max_speeches=self._config.limits.max_sessions,
            is_catalogue_public=self._config.http.public_catalogue,
        )
        self._wyoming = WyomingDoor(
            self._manager,
            version=__version__,
            languages=settings.offered_languages(os.environ),
            allow=settings.wyoming_networks(),
            limits=TextLimits(
                self._config.limits.max_input_chars, self._config.limits.max_speech_chars
            ),
            max_sessions=self._config.limits.max_sessions,
        )
        doors = (self._websocket, self._http, self._wyoming)
        self._metrics.show(*readings(*doors, self._manager, self._lane))

    async def run(self, on_ready: Callable[[Doors], None]) -> None:
        """Serve until SIGTERM or SIGINT; a second one does not wait for speeches.

        Raises:
            DoorTakenError: an address is not free; nothing is left open.
            EngineLostError: the process must be started anew, and cannot end by itself: a thread
                that was lost is waited for in vain.
        """
        stop, hurry, hang_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, hang_up.set)

        def give_up() -> None:
            hurry.set()
            stop.set()

        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._watch(give_up), name="watch")]
        try:
            self._manager.import_packages(self._preloads)
            if self._phrase_store is not None:
                await self._phrase_store.open()
            doors = await self._open()
            # From here on there is something to end in good order.
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, lambda: hurry.set() if stop.is_set() else stop.set())
            stopping = asyncio.create_task(stop.wait(), name="stop")
            preloading = asyncio.create_task(self._preload(), name="preload")
            tasks += [stopping, preloading]
            await asyncio.wait((stopping, preloading), return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await preloading
                advertising = self._advertise(doors)
                tasks.append(advertising)
                on_ready(doors)
                self._service.ready()
                tasks.append(asyncio.create_task(self._reload_at(hang_up), name="reload"))
                await stopping
                log.info("stopping")
                self._service.stopping()
                advertising.cancel()
                await self._drain(hurry)
                await asyncio.wait([advertising])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
            for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(name)

    async def _close(self) -> None:
        """Close the doors, then what they led to.

        Raises:
            EngineLostError: as for `run`.
        """
        doors = (self._websocket, self._http, self._wyoming)
        await asyncio.gather(*(door.close() for door in doors))
        try:
            if self._lane.is_alive:
                async with asyncio.timeout(_CLOSE_S):
                    await self._manager.close()
                    await self._lane.close()
        except TimeoutError:
            raise EngineLostError("A local engine did not end.") from None
        finally:
            if self._phrase_store is not None:
                await self._phrase_store.close()
        if not self._lane.is_alive:
            raise EngineLostError("A local engine ended its thread; start the daemon again.")

    async def _watch(self, give_up: Callable[[], None]) -> None:
        """Give signs of life while the loop runs and local engines can speak."""
        loop = asyncio.get_running_loop()
        every_s = (self._service.watchdog_s or 0) / 4
        told_at = 0.0
        while self._lane.is_alive:
            if not self._lane.trouble() and loop.time() - told_at >= every_s:
                told_at = loop.time()
                self._service.alive()
            self._service.status(
                f"{self._waits_for}{self._not_reloaded}clients: {self._websocket.sessions}, "
                f"speaking: {self._manager.speaking}"
            )
            await asyncio.sleep(_LOOK_S)
        log.critical("a local engine ended its thread; the daemon must be started again")
        give_up()

    async def _reload_at(self, hang_up: asyncio.Event) -> None:
        """Read tokens, origins and mappings again; a faulty configuration changes nothing."""
        while True:
            await hang_up.wait()
            hang_up.clear()
            self._service.reloading()
            self._not_reloaded = ""
            try:
                await self._reload()
            except ConfigError as error:
                for problem in error.problems:
                    log.warning("not reloaded: %s", problem)
                self._not_reloaded = f"not reloaded: {error.problems[0]} "
            except Exception:  # the daemon goes on as it was
                log.exception("not reloaded")
                self._not_reloaded = "not reloaded, by a fault of ours: see the log. "
            self._service.ready()

    async def _reload(self) -> None:
        settings = await asyncio.to_thread(self._sources.read)
        self._manager.use_mappings(settings.mappings)
        self._manager.lexicon = settings.lexicon
        self._manager.phrases.clear()
        self._websocket.policy = self._http.policy = settings.policy()
        log.info(
            "reloaded tokens, origins, mappings and the lexicon, and forgot the phrases in memory; "
            "other keys hold from the next start"
        )

    async def _open(self) -> Doors:
        config = self._config
        websocket, http = config.websocket, config.http
        return Doors(
            await self._listen(self._websocket, "websocket", websocket.host, websocket.port),
            await self._listen(self._http, "http", http.host, http.port),
            await self._open_wyoming(),
        )

    async def _listen(self, door: Door, name: str, host: str, port: int) -> tuple[str, int]:
        """Open a door; as a service wait for a port that is taken, or an address to come.

        To end and be started again and again would cost a small machine more.
        """
        while True:
            try:
                place = await listen(door, name, host, port)
            except DoorTakenError as error:
                if not self._service.is_there:
                    raise
                if not self._waits_for:
                    log.warning("%s It is tried again every %s s.", error.message, _PORT_S)
                self._waits_for = f"waits for a port. {error.message} "
            else:
                self._waits_for = ""
                return place
            await asyncio.sleep(_PORT_S)

    async def _open_wyoming(self) -> tuple[str, int] | None:
        wyoming = self._config.wyoming
        if not wyoming.enabled:
            return None
        port = self._config.wyoming_port
        if "port" in wyoming.model_fields_set or self._service.is_there:
            return await self._listen(self._wyoming, "wyoming", wyoming.host, port)
        try:
            return await listen(self._wyoming, "wyoming", wyoming.host, port)
        except DoorTakenError as error:
            # Nobody asked for it: a second daemon is not to fail for it.
            log.warning("%s Until then there is no Wyoming door.", error.message)
            return None

    async def _preload(self) -> None:
        for backend_id in self._manager.preloaded(self._preloads):
            # The manager has logged it with the cure; others may still speak.
            with suppress(BackendUnavailable):
                await self._manager.get_backend(backend_id)

    def _advertise(self, doors: Doors) -> asyncio.Task[None]:
        hosts = [place[0] for place in (doors.websocket, doors.wyoming) if place]
        if not self._config.zeroconf.enabled or all(map(is_loopback, hosts)):
            return asyncio.create_task(asyncio.sleep(0), name="not advertised")
        # Here, since most daemons that are tried out never leave the loopback: 3 MB.
        from voiced.discovery import Advertisement, Advertiser  # noqa: PLC0415

        advertiser = Advertiser(
            Advertisement(
                server_id=self._server_id,
                name=self._config.zeroconf.name,
                version=__version__,
                needs_token=bool(self._websocket.policy.token),
                websocket=doors.websocket,
                http_port=doors.http[1],
                wyoming=doors.wyoming,
            )
        )
        return asyncio.create_task(advertiser.run(), name="advertise")

    async def _drain(self, hurry: asyncio.Event) -> None:
        """Let speeches end, for `drain_s` at most."""
        tasks = [
            asyncio.create_task(self._drain_doors(), name="drain"),
            asyncio.create_task(hurry.wait(), name="hurry"),
        ]
        try:
            limit_s = self._config.defaults.drain_s
            await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain_doors(self) -> None:
        doors = (self._websocket, self._http, self._wyoming)
        await asyncio.gather(*(door.drain() for door in doors))

    def _greeting(self) -> Greeting:
        config = self._config
        limits = config.limits
        return Greeting(
            version=__version__,
            session="",
            server_id=self._server_id,
            server_name=config.zeroconf.name,
            defaults={},
            limits=SessionLimits(
                max_message_bytes=limits.max_message_bytes,
                max_input_chars=limits.max_input_chars,
                max_speech_chars=limits.max_speech_chars,
                max_speeches=limits.max_speeches,
            ),
        )

    def _report(self, report: SpeechReport) -> None:
        self._metrics.observe(report)
        first = "-" if report.first_audio_ms is None else f"{report.first_audio_ms:.0f}"
        log.info(
            "speech %s: model=%s backend=%s voice=%s characters=%d samples=%d "
            "first_audio_ms=%s total_ms=%.0f reason=%s%s",
            *(report.label, report.model, report.backend, report.voice, report.characters),
            *(report.samples, first, report.total_ms, report.reason),
            f" error={report.error}" if report.error else "",
        )


def server_id() -> str:
    """Return this daemon's id, made once and kept in the state folder."""
    file = state_folder() / "id"
    with suppress(OSError, ValueError):
        if len(kept := file.read_text(encoding="ascii").strip()) == 32:
            return kept
    made = secrets.token_hex(16)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{made}\n", encoding="ascii")
    except OSError:
        log.warning("the state folder cannot be written: this daemon's id will not last")
    return made
