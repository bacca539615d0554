"""The Wyoming door: a TCP port for Home Assistant."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress
from itertools import count

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.tts import SynthesizeStopped

from voiced.errors import BusyError, InvalidFormat, VoicedError
from voiced.protocol.wyoming import (
    RATE,
    Answer,
    EventReader,
    Offer,
    Order,
    TextLimits,
    WyomingSession,
    encode,
)
from voiced.request import Plan
from voiced.speech import AudioFrame, Voice
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.sockets import STALLED_S, dual_stack, keep_alive, keep_unsent_low

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_READ_BYTES = 65536
_SILENT_S = 600  # without a byte, while nothing is spoken
_WAITING = 8  # speeches of a connection, one after the other
_LEARN_S = 0.5  # that `describe` waits for voices; it has a second
_WRITE_LIMIT_BYTES = 16384
_FORMAT = {"rate": RATE, "width": 2, "channels": 1}


class WyomingDoor:
    """Serves section 4 of the protocol. `start`, then `drain`, then `close`."""

    def __init__(
        self,
        manager: TTSBackendManager,
        *,
        version: str,
        languages: Sequence[str] = ("en",),
        allow: Sequence[Network] = (),
        limits: TextLimits | None = None,
        max_sessions: int = 256,
    ) -> None:
        """Let in addresses within `allow`, all where it is empty."""
        self._manager = manager
        self._version = version
        self._languages = languages
        self._allow = allow
        self._limits = limits or TextLimits()
        self._max_sessions = max_sessions
        self._names = count(1)
        self._clients: dict[asyncio.Task[object], _Client] = {}
        self._is_draining = False
        self._voices: dict[str, Sequence[Voice]] = {}
        self._learning: asyncio.Task[None] | None = None
        self._has_learned = False
        self._server: asyncio.Server | None = None

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = dual_stack(host, port)
        place = {"sock": sock} if sock else {"host": host, "port": port}
        self._server = await asyncio.start_server(self._serve, limit=_READ_BYTES, **place)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def drain(self) -> None:
        """Take no more speeches, and wait until those that there are have ended."""
        self._is_draining = True
        for client in self._clients.values():
            client.session.is_draining = True
        await asyncio.gather(*(client.idle() for client in list(self._clients.values())))

    async def close(self) -> None:
        """Close every connection, and listen no more."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._clients, *([self._learning] if self._learning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def learn(self) -> None:
        """Ask every backend for its voices; wait for them a moment, the first time.

        Not at the start: backends that nobody wants are not to be loaded for it.
        """
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._ask_for_voices(), name="learn voices")
        if not self._has_learned:
            await asyncio.wait([self._learning], timeout=_LEARN_S)

    def offer(self) -> Offer:
        """Return what is known to be there now."""
        default = self._manager.usual_backend()
        return Offer(self._voices, default=default, languages=self._languages)

    async def _ask_for_voices(self) -> None:
        async for backend_id, voices in self._manager.voices_by_backend(self._voices):
            self._voices[backend_id] = voices
        self._has_learned = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_allowed(writer) or len(self._clients) >= self._max_sessions:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        session = WyomingSession(
            self._manager,
            self.offer,
            self._version,
            asyncio.get_running_loop().time,
            self._limits,
            self._is_draining,
        )
        client = _Client(self, self._manager, session, writer, f"wyoming-{next(self._names)}")
        self._clients[task] = client
        try:
            await client.run(reader)
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(STALLED_S):
                    await writer.wait_closed()
        except asyncio.CancelledError:
            # By `close`; Python 3.11 writes to the log of a handler that ends so.
            pass
        finally:
            del self._clients[task]
            writer.transport.abort()

    def _is_allowed(self, writer: asyncio.StreamWriter) -> bool:
        if not self._allow:
            return True
        address = ipaddress.ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allow)


class _Client:
    """One connection: it is read while it is spoken to."""

    def __init__(
        self,
        door: WyomingDoor,
        manager: TTSBackendManager,
        session: WyomingSession,
        writer: asyncio.StreamWriter,
        name: str,
    ) -> None:
        self.session = session
        self._door = door
        self._manager = manager
        self._writer = writer
        self._name = name
        self._orders: asyncio.Queue[Order] = asyncio.Queue(_WAITING)
        self._is_speaking = False
        keep_unsent_low(writer.transport)
        keep_alive(writer.transport)
        writer.transport.set_write_buffer_limits(high=_WRITE_LIMIT_BYTES)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve until either side has had enough."""
        try:
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(self._speak_all(), name=f"speak {self._name}")
                await self._read(reader)
                speaking.cancel()
        except* (_HangUpError, OSError, TimeoutError):
            pass
        finally:
            while not self._orders.empty():  # nobody speaks them any more
                self._orders.get_nowait()
                self._orders.task_done()

    async def idle(self) -> None:
        """Wait until nothing is spoken and nothing waits to be."""
        await self._orders.join()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        events = EventReader()
        while data := await self._next_bytes(reader):
            try:
                for event in events.feed(data):
                    await self._take(event)
            except InvalidFormat as error:
                await self._send(_as_event(error))
                raise _HangUpError from None

    async def _next_bytes(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            try:
                async with asyncio.timeout(_SILENT_S):
                    return await reader.read(_READ_BYTES)
            except TimeoutError:
                if not self._is_speaking:
                    raise
                self.session.end_stream()  # the rest of the text will never come

    async def _take(self, event: Event) -> None:
        if event.type == "describe":
            await self._door.learn()
        match self.session.receive(event):
            case Answer(answer):
                await self._send(answer)
            case Order() as order:
                try:
                    self._orders.put_nowait(order)
                except asyncio.QueueFull:
                    await self._send(_as_event(BusyError("Too many texts wait to be spoken.")))
                    raise _HangUpError from None

    async def _speak_all(self) -> None:
        while True:
            order = await self._orders.get()
            self._is_speaking = True
            try:
                await self._speak(order)
            finally:
                self._is_speaking = False
                self._orders.task_done()

    async def _speak(self, order: Order) -> None:
        """Give one speech, from `audio-start` to `audio-stop`; of a stream its end, too."""
        has_begun, error = await self._give(order.plan) if order.plan else (False, None)
        if error := order.error or error:
            await self._send(_as_event(error))
            if not order.is_stream:
                raise _HangUpError
        elif not (has_begun or order.is_stream):
            has_begun = True
            await self._send(AudioStart(**_FORMAT).event())
        if has_begun:
            await self._send(AudioStop().event())
        if order.is_stream:
            await self._send(SynthesizeStopped().event())

    async def _give(self, plan: Plan) -> tuple[bool, VoicedError | None]:
        """Send the audio; return whether there was any, and what went wrong."""
        has_begun = False
        try:
            async with aclosing(self._manager.speak(plan, label=self._name)) as events:
                async for event in events:
                    if not (isinstance(event, AudioFrame) and event.samples):
                        continue
                    if not has_begun:
                        has_begun = True
                        await self._send(AudioStart(**_FORMAT).event())
                    await self._send(AudioChunk(**_FORMAT, audio=event.data).event())
        except VoicedError as error:
            return has_begun, error
        return has_begun, None

    async def _send(self, event: Event) -> None:
        self._writer.write(encode(event))
        async with asyncio.timeout(STALLED_S):
            await self._writer.drain()


class _HangUpError(Exception):
    """The connection is over, and all that was to be said has been."""


def _as_event(error: VoicedError) -> Event:
    return Error(text=error.message, code=error.code).event()
