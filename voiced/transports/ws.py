"""The WebSocket door: tasks around `protocol.session`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from voiced.errors import VoicedError
from voiced.protocol.access import AccessPolicy
from voiced.protocol.actions import (
    Action,
    Authenticated,
    Close,
    CloseCode,
    ListVoices,
    Start,
    Stop,
    TellStatus,
)
from voiced.protocol.greeting import Greeting
from voiced.protocol.session import Session
from voiced.protocol.status import BackendStatus, Status
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.listener import WebSocketListener
from voiced.transports.sender import Sender

log = logging.getLogger(__name__)

_CLOSE_S = 0.5  # for a client to answer our close at shutdown
_BACKLOG = 256  # answers that may wait unsent before we stop reading
_LOOK_S = 0.5  # between two looks at the status, while anybody wants to know it


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
        self.manager = manager
        self._greeting = greeting
        self._listener = WebSocketListener(
            self.serve,
            policy=policy,
            max_sessions=max_sessions,
            max_message_bytes=greeting.limits.max_message_bytes,
        )
        self._clients: set[_Client] = set()
        self._past_underruns = 0  # of clients that have left
        self._is_draining = False
        self._look: asyncio.TimerHandle | None = None

    @property
    def policy(self) -> AccessPolicy:
        """Who may come in. It may be changed; who is in stays."""
        return self._listener.policy

    @policy.setter
    def policy(self, policy: AccessPolicy) -> None:
        self._listener.policy = policy

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def underruns(self) -> int:
        """How often a client, of those that tell, had nothing left to play."""
        return self._past_underruns + sum(client.session.underruns for client in self._clients)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        return await self._listener.start(host, port)

    async def drain(self) -> None:
        """Take no new clients and no new speeches, and return when all speeches have ended."""
        self._is_draining = self._listener.is_full = True
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
        if self._look is not None:
            self._look.cancel()
        await self._listener.close(CloseCode.GOING_AWAY)

    async def serve(self, connection: ServerConnection, *, is_authorized: bool) -> None:
        """Serve a client until its connection is gone."""
        name = secrets.token_hex(4)
        session = Session(
            replace(self._greeting, session=name, defaults=self.manager.usual()),
            planner=self.manager,
            is_token_right=self._listener.policy.is_token_right,
            now=asyncio.get_running_loop().time,
        )
        if self._is_draining:  # since the upgrade
            session.drain()
        client = _Client(connection, session, self)
        self._clients.add(client)
        try:
            await client.run(is_authenticated=is_authorized)
        except Exception:
            log.exception("session %s failed", name)
        finally:
            self._clients.discard(client)
            self._past_underruns += session.underruns

    def admit(self, connection: ServerConnection) -> None:
        """Let the messages of a client have their full size."""
        self._listener.admit(connection)

    # ------------------------------------------------------------------------------- status

    def status(self) -> Status:
        """Return what the daemon does."""
        backends = tuple(
            BackendStatus(name, state, self.manager.real_time_factor(name))
            for name, state in self.manager.states().items()
        )
        is_whole = self.manager.is_whole()
        return Status(
            state="draining" if self._is_draining else "ready" if is_whole else "degraded",
            sessions=len(self._clients),
            speaking=self.manager.speaking,
            queued=sum(client.session.queued for client in self._clients),
            backends=backends,
        )

    def tell_status(self) -> None:
        """Tell it to all who subscribed, and look again while there are any."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        watching = [client for client in self._clients if client.session.is_subscribed]
        if watching:
            status = self.status()
            for client in watching:
                client.tell(status)
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self.tell_status)


class _Client:
    """One connection: its handler reads, one task writes, and each speech has its own."""

    def __init__(self, connection: ServerConnection, session: Session, door: WebSocketDoor) -> None:
        self.session = session
        self.has_ended = asyncio.Event()
        self._connection = connection
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(connection, self._pop)
        self._alarm: asyncio.TimerHandle | None = None  # for what the session is due to do
        self._work: dict[int, asyncio.Task[None]] = {}  # by the id of the command

    async def run(self, *, is_authenticated: bool) -> None:
        """Serve until the connection is gone; then stop all that was spoken for it."""
        self.session.open(is_authenticated=is_authenticated)
        self._do([])
        sending = asyncio.create_task(self._sender.run(), name=f"send {self.session.name}")
        sending.add_done_callback(self._stopped_sending)
        try:
            with suppress(ConnectionClosed):
                await self._read()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            tasks = [sending, *self._work.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.has_ended.set()
            self._sender.let_go()

    def _stopped_sending(self, sending: asyncio.Task[None]) -> None:
        """A session that cannot be written to is over, also where that is our fault."""
        if not sending.cancelled() and (failure := sending.exception()):
            log.error("session %s failed", self.session.name, exc_info=failure)
            self.abort()

    async def idle(self) -> None:
        """Return when no speech is left."""
        while self.session.speaking and not self.has_ended.is_set():
            await self._sender.sent_something()

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
                while self._is_behind() and not self._sender.is_over:
                    await self._sender.sent_something()
                await asyncio.sleep(0)  # the next one of an array is not more urgent than others

    def _is_behind(self) -> bool:
        return self.session.backlog > _BACKLOG or len(self._work) > _BACKLOG

    def _pop(self) -> str | bytes | None:
        message = self.session.pop()
        if message is None:
            self._arm()  # a window may have closed
        return message

    def tell(self, status: Status) -> None:
        """Tell the subscribers what has changed."""
        self.session.tell(status)
        self._sender.wake()

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
                case TellStatus():
                    self._door.tell_status()
                case Authenticated():
                    self._door.admit(self._connection)
                case Close(code, reason):
                    self._sender.close(code, reason)
        self._sender.wake()
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
        self._sender.let_go()

    async def _speak(self, action: Start) -> None:
        speech = action.speech
        error: VoicedError | None = None
        label = f"{self.session.name}/{speech}"
        try:
            spoken = self._door.manager.speak(action.plan, label=label, priority=action.priority)
            async with aclosing(spoken) as events:
                async for event in events:
                    while not self.session.has_room(speech):
                        await self._sender.sent_something()
                    self.session.deliver(speech, event)
                    self._sender.wake()
        except VoicedError as failure:
            error = failure
        except Exception:
            log.exception("speech %s failed", label)
            error = VoicedError("The daemon failed at this speech; its log says where.")
        self._do(self.session.finish(speech, error))

    async def _list_voices(self, action: ListVoices) -> None:
        try:
            voices = await self._door.manager.voices(model=action.model, language=action.language)
        except VoicedError as error:
            self.session.fail(action.command, error)
        else:
            self.session.answer_voices(action, voices)
        self._sender.wake()
