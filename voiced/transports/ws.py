"""The WebSocket door: sockets and tasks around `protocol.session`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import MultipleValuesError
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from voiced.errors import VoicedError
from voiced.protocol.access import AccessPolicy
from voiced.protocol.messages import SUBPROTOCOL
from voiced.protocol.session import (
    Action,
    Authenticated,
    Close,
    CloseCode,
    Greeting,
    ListVoices,
    Session,
)
from voiced.protocol.speeches import Start, Stop
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.sockets import STALLED_S, keep_unsent_low

log = logging.getLogger(__name__)
_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.CRITICAL)  # it logs every port scan with a traceback

PATH = "/v1/ws"
_CHECKED = ("Host", "Origin", "Authorization")
_AUTH_BYTES = 4096  # read at most until then
_CLOSE_S = 0.5  # for a client to answer our close at shutdown
_PING_S = 30  # between pings, and for their answer
_BACKLOG = 256  # answers that may wait unsent before we stop reading
_WRITE_LIMIT_BYTES = 16384  # in asyncio's buffer; TCP back-pressure begins here


class WebSocketDoor:
    """Serves `voiced.v1` at `/v1/ws`. `start`, then `drain`, then `close`."""

    def __init__(
        self,
        manager: TTSBackendManager,
        *,
        policy: AccessPolicy,
        greeting: Greeting,
        max_sessions: int,
    ) -> None:
        self.policy = policy
        self._manager = manager
        self._greeting = greeting
        self._max_sessions = max_sessions
        self._clients: set[_Client] = set()
        self._is_draining = False
        self._server: Server | None = None

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        self._server = await serve(
            self._handle,
            host,
            port,
            process_request=self._check_upgrade,
            select_subprotocol=_select_subprotocol,
            compression=None,  # audio does not compress, and each context costs memory
            max_size=_AUTH_BYTES,
            max_queue=4,  # frames read ahead of us: commands are small and handled at once
            write_limit=_WRITE_LIMIT_BYTES,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=STALLED_S,
            server_header=None,
            logger=_library_log,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def drain(self) -> None:
        """Take no new clients and no new speeches, and return when all speeches have ended."""
        self._is_draining = True
        for client in self._clients:
            client.session.drain()
        await asyncio.gather(*(client.idle() for client in self._clients))

    async def close(self) -> None:
        """End what is still spoken with `shutdown`, and every session with 1001."""
        clients = list(self._clients)
        for client in clients:
            client.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                for client in clients:
                    await client.has_ended.wait()
        for client in self._clients:
            client.abort()
        if self._server is not None:
            self._server.close(code=CloseCode.GOING_AWAY)
            with suppress(TimeoutError):  # a connection that never said a word is not waited for
                async with asyncio.timeout(_CLOSE_S / 2):
                    await self._server.wait_closed()

    def _check_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            headers = {name: request.headers.get(name) for name in _CHECKED}
        except MultipleValuesError:
            return connection.respond(HTTPStatus.BAD_REQUEST, "A header stands twice.\n")
        refusal = self.policy.check(
            request.path,
            host=headers["Host"],
            origin=headers["Origin"],
            authorization=headers["Authorization"],
        )
        if refusal is not None:
            return connection.respond(refusal.status, f"{refusal.message}\n")
        if request.path.partition("?")[0] != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"The sessions are at {PATH}.\n")
        if self._is_draining or len(self._clients) >= self._max_sessions:
            response = connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many sessions; try again in a moment.\n"
            )
            response.headers["Retry-After"] = "1"
            return response
        if self.policy.is_authorized(headers["Authorization"]):
            connection.protocol.max_message_size = self._greeting.limits.max_message_bytes
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        name = secrets.token_hex(4)
        session = Session(
            replace(self._greeting, session=name, defaults=self._manager.usual()),
            planner=self._manager,
            is_token_right=self.policy.is_token_right,
            now=asyncio.get_running_loop().time,
        )
        if self._is_draining:  # since the upgrade
            session.drain()
        client = _Client(connection, session, self._manager)
        self._clients.add(client)
        try:
            assert connection.request is not None
            authorization = connection.request.headers.get("Authorization")
            await client.run(is_authenticated=self.policy.is_authorized(authorization))
        except Exception:
            log.exception("session %s failed", name)
        finally:
            self._clients.discard(client)


class _Client:
    """One connection: its handler reads, one task writes, and each speech has its own."""

    def __init__(
        self, connection: ServerConnection, session: Session, manager: TTSBackendManager
    ) -> None:
        self.session = session
        self.has_ended = asyncio.Event()
        self._connection = connection
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._has_news = asyncio.Event()  # for the writer: there may be something to send
        self._has_sent = asyncio.Event()  # for all others: something was sent
        self._closing: Close | None = None
        self._alarm: asyncio.TimerHandle | None = None  # for what the session is due to do
        self._work: dict[int, asyncio.Task[None]] = {}  # by the id of the command

    async def run(self, *, is_authenticated: bool) -> None:
        """Serve until the connection is gone; then stop all that was spoken for it."""
        keep_unsent_low(self._connection.transport)
        self.session.open(is_authenticated=is_authenticated)
        self._has_news.set()
        writer = asyncio.create_task(self._write(), name=f"write {self.session.name}")
        self._arm()
        try:
            with suppress(ConnectionClosed):
                await self._read()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            tasks = [writer, *self._work.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.has_ended.set()
            self._has_sent.set()

    async def idle(self) -> None:
        """Return when no speech is left."""
        while self.session.speaking and not self.has_ended.is_set():
            await self._sent_something()

    def shut_down(self) -> None:
        """End the speeches and the session, in order."""
        self._do(self.session.shut_down())

    def abort(self) -> None:
        """Drop the connection as it stands."""
        self._connection.transport.abort()

    async def _read(self) -> None:
        async for message in self._connection:
            for actions in self.session.receive(message):
                self._do(actions)
                while self.session.backlog > _BACKLOG or len(self._work) > _BACKLOG:
                    await self._sent_something()
                await asyncio.sleep(0)  # the next one of an array is not more urgent than others

    async def _write(self) -> None:
        while True:
            while (message := self.session.pop()) is not None:
                with suppress(ConnectionClosed):
                    await self._send(message)
                self._has_sent.set()
            if self._closing is not None:
                await self._connection.close(self._closing.code, self._closing.reason)
                return
            self._arm()  # a window may have closed
            self._has_news.clear()
            await self._has_news.wait()

    async def _send(self, message: str | bytes) -> None:
        """Send, never cancelled for being slow: a socket that takes nothing is aborted."""
        self._send_timer = self._loop.call_later(STALLED_S, self._check_progress, None)
        try:
            await self._connection.send(message)
        finally:
            self._send_timer.cancel()

    def _check_progress(self, previous: int | None) -> None:
        waiting = self._connection.transport.get_write_buffer_size()
        if previous is not None and waiting >= previous:
            self._connection.transport.abort()
            return
        self._send_timer = self._loop.call_later(STALLED_S, self._check_progress, waiting)

    async def _sent_something(self) -> None:
        self._has_sent.clear()
        await self._has_sent.wait()

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._begin(action.speech, self._speak(action))
                case ListVoices():
                    self._begin(action.command, self._list_voices(action))
                case Stop():
                    if work := self._work.get(action.speech):  # gone, where the client is
                        work.cancel()
                case Authenticated(max_message_bytes):
                    self._connection.protocol.max_message_size = max_message_bytes
                case Close():
                    self._closing = self._closing or action
        self._has_news.set()
        self._arm()

    def _arm(self) -> None:
        """See that the session is woken in time. Too early does no harm, and costs less."""
        due = self.session.due_at()
        if due is None or (self._alarm is not None and self._alarm.when() <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._do(self.session.wake())

    def _begin(self, command: int, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"command {self.session.name}/{command}")
        self._work[command] = task
        task.add_done_callback(lambda _: self._ended(command))

    def _ended(self, command: int) -> None:
        del self._work[command]
        self._has_sent.set()

    async def _speak(self, action: Start) -> None:
        speech = action.speech
        error: VoicedError | None = None
        label = f"{self.session.name}/{speech}"
        try:
            spoken = self._manager.speak(action.plan, label=label, priority=action.priority)
            async with aclosing(spoken) as events:
                async for event in events:
                    while not self.session.has_room(speech):
                        await self._sent_something()
                    self.session.deliver(speech, event)
                    self._has_news.set()
        except VoicedError as failure:
            error = failure
        except Exception:
            log.exception("speech %s failed", label)
            error = VoicedError("The daemon failed at this speech; its log says where.")
        self._do(self.session.finish(speech, error))

    async def _list_voices(self, action: ListVoices) -> None:
        try:
            voices = await self._manager.voices(model=action.model, language=action.language)
        except VoicedError as error:
            self.session.fail(action.command, error)
        else:
            self.session.answer_voices(action, voices)
        self._has_news.set()


def _select_subprotocol(
    _connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None
