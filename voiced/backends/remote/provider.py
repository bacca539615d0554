"""`Provider`: asks a provider for audio, and gives it as it comes."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Any

import aiohttp

from voiced import __version__
from voiced.backends.remote.circuit import Circuit
from voiced.backends.remote.fault import Fault, refused, unreachable
from voiced.backends.remote.settings import RemoteSettings
from voiced.backends.remote.slots import Slots
from voiced.errors import BackendError, BackendLate, BackendUnavailable
from voiced.speech import Segment

_READ_BYTES = 1 << 14  # that aiohttp reads ahead twice: 0.7 s of pcm
_ERROR_BYTES = 1 << 16  # of an answer that is no audio
_LARGEST_BYTES = 1 << 24  # of a list of voices
_LONGEST_WAIT_S = 5.0  # for a provider that says when to come again
_FIRST_WAIT_S = 0.25
_KEPT_S = 60.0  # that an idle connection is kept: a new one costs 0.1 to 0.3 s


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of a provider; the path is ours, never a client's."""

    path: str
    method: str = "POST"
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    types: tuple[str, ...] = ("audio/", "application/octet-stream")  # of the answer


class Provider:
    """One provider, as one backend asks it. For one event loop; `open` first, `close` last."""

    def __init__(
        self,
        settings: RemoteSettings,
        *,
        headers: Mapping[str, str],
        cure: str,
        explain: Callable[[int, bytes], Fault | None] = lambda *_: None,
    ) -> None:
        """`headers` have the key, `cure` says where it is to be mended.

        `explain` may know better than `refused` what an answer means.
        """
        self._settings = settings
        self._headers = {"User-Agent": f"voiced/{__version__}", **headers}
        self._cure = cure
        self._explain = explain
        self._slots = Slots(settings.max_concurrent)
        self._circuit = Circuit(asyncio.get_running_loop().time)
        self._session: aiohttp.ClientSession | None = None

    @property
    def trouble(self) -> str | None:
        """Why it is not asked now, in a sentence; None where it may be."""
        return self._circuit.trouble()

    def succeed(self) -> None:
        """Take that an answer was good, to its end."""
        self._circuit.succeed()

    async def open(self) -> None:
        """Have a session, without asking anything yet."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=self._settings.connect_timeout_s
            ),
            read_bufsize=_READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def audio(self, call: Call, segment: Segment) -> AsyncGenerator[bytes, None]:
        """Yield the body of the answer, in parts as they come. Closing it ends the request.

        What may pass is tried again, as long as nothing has come.

        Raises:
            VoicedError: the provider failed; after the last try, or on the way.
        """
        loop = asyncio.get_running_loop()
        async with self._slots.taken(segment):
            began = loop.time()
            if trouble := self.trouble:
                raise BackendUnavailable(trouble)
            for tries_left in range(self._settings.retries, -1, -1):
                has_begun = False
                try:
                    patience = _Patience(self._settings.total_timeout_s)
                    async with aclosing(self._parts(call, patience)) as parts:
                        async for part in parts:
                            has_begun = True
                            yield part
                except asyncio.CancelledError:
                    if not has_begun:
                        self._note_wait(loop.time() - began)
                    raise
                except Fault as fault:
                    self.note(fault)
                    wait_s = _wait_s(fault, self._settings.retries - tries_left)
                    if has_begun or not tries_left or wait_s is None:
                        raise fault.error from None
                else:
                    return
                segment.on_retry()
                await asyncio.sleep(wait_s)

    async def json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return what a GET answers, once; None where the provider has no such route.

        Raises:
            VoicedError: the provider failed, or the answer is no JSON.
        """
        body = await self.fetch(path, query, types=("application/json",))
        try:
            return None if body is None else json.loads(body)
        except ValueError:
            raise BackendError(f"{self._settings.host} answers with what is no JSON.") from None

    async def fetch(
        self, path: str, query: Mapping[str, str] | None = None, *, types: tuple[str, ...]
    ) -> bytes | None:
        """Return the body of such a type that a GET answers with; None as `json` does.

        Raises:
            VoicedError: the provider failed.
        """
        found = b""
        try:
            call = Call(path, "GET", query=query or {}, types=types)
            # A speech may wait for it.
            patience = _Patience(
                self._settings.first_audio_timeout_s or self._settings.total_timeout_s
            )
            async with aclosing(self._parts(call, patience)) as parts:
                async for part in parts:
                    found += part
                    if len(found) > _LARGEST_BYTES:
                        raise BackendError(f"{self._settings.host} answers without an end.")
        except Fault as fault:
            if fault.is_ours:
                return None
            raise fault.error from None
        return found

    async def _parts(self, call: Call, patience: _Patience) -> AsyncGenerator[bytes, None]:
        """Ask once."""
        assert self._session is not None
        host, stall_s = self._settings.host, self._settings.stall_timeout_s
        try:
            asking = self._session.request(
                call.method,
                self._settings.base_url + call.path,
                json=call.body,
                params=call.query,
                allow_redirects=False,  # another host is not to see the key
            )
            async with patience.wait():
                response = await asking
            async with response:
                if response.status != HTTPStatus.OK:
                    async with patience.wait(stall_s):
                        body = await response.content.read(_ERROR_BYTES)
                    raise self._fault(response, body)
                if not response.content_type.startswith(call.types):
                    raise Fault(
                        BackendError(f"{host} answers with {_kind(response)}, which is not wanted.")
                    )
                while True:
                    async with patience.wait(stall_s):
                        part = await response.content.readany()
                    if not part:
                        return
                    yield part
        except aiohttp.ConnectionTimeoutError:
            raise unreachable(host, "no answer in connect_timeout_s") from None
        except TimeoutError:
            message = f"{host} has sent nothing for {patience.limit_s:g} s."
            raise Fault(BackendLate(message)) from None
        except aiohttp.ClientPayloadError:
            raise Fault(BackendError(f"The answer of {host} broke off."), may_pass=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(host, type(error).__name__) from None

    def _fault(self, response: aiohttp.ClientResponse, body: bytes) -> Fault:
        return self._explain(response.status, body) or refused(
            self._settings.host,
            response.status,
            body,
            after=response.headers.get("Retry-After"),
            cure=self._cure,
        )

    def _note_wait(self, waited_s: float) -> None:
        """Take a cancel before the first audio; after so long it is a listener who gave it up."""
        limit_s = self._settings.first_audio_timeout_s
        if limit_s and waited_s >= 0.9 * limit_s:  # which began with the wait for a slot
            self._circuit.fail(f"{self._settings.host} gives no audio in time.")

    def note(self, fault: Fault) -> None:
        """Take what went wrong, for whoever asks next."""
        if not fault.is_ours:
            self._circuit.fail(fault.error.message, at_once_for_s=fault.closed_for_s)


class _Patience:
    """How long a request waits for its provider: for each part, and all together.

    The time that a listener takes does not count.
    """

    def __init__(self, total_s: float) -> None:
        self._left_s = total_s
        self.limit_s = total_s  # of the last wait

    @asynccontextmanager
    async def wait(self, limit_s: float = inf) -> AsyncIterator[None]:
        """Raise a `TimeoutError` where the block takes longer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.limit_s = min(limit_s, max(self._left_s, 0))
        async with asyncio.timeout(self.limit_s):
            yield
        self._left_s -= loop.time() - began


def _wait_s(fault: Fault, tries: int) -> float | None:
    """Return how long to wait before the next try, None where there should be none."""
    if not fault.may_pass:
        return None
    if fault.after_s is None:
        return _FIRST_WAIT_S * float(2**tries) * random.uniform(0.5, 1.5)  # noqa: S311  # no secret
    return fault.after_s if fault.after_s <= _LONGEST_WAIT_S else None


def _kind(response: aiohttp.ClientResponse) -> str:
    kind = response.content_type
    return kind if re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,40}", kind) else "something"
