"""The parts that tests put together: fakes for the seams, and both doors on free ports."""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np

from voiced.backends.base import (
    BackendSettings,
    Emit,
    SegmentSizes,
    SharedOptions,
    TTSBackendBase,
)
from voiced.backends.registry import BackendRegistry
from voiced.config import MAPPINGS, shipped
from voiced.errors import BackendUnavailable
from voiced.metrics import Metrics
from voiced.protocol.access import AccessPolicy
from voiced.protocol.greeting import Greeting, SessionLimits
from voiced.request import OpenAISpeechRequest
from voiced.speech import AudioFormat, AudioFrame, PcmChunk, Segment, SpeechEvent, Voice
from voiced.synthesis.catalogue import SpeechDefaults
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.phrases import PhraseCache
from voiced.synthesis.pool import BackendPool
from voiced.synthesis.report import SpeechReport
from voiced.transports.http import HttpDoor
from voiced.transports.listener import PATH
from voiced.transports.ws import WebSocketDoor
from voiced.transports.wyoming import WyomingDoor

REPOSITORY = Path(__file__).parent.parent
RATE = 24000
WITH_TORCH = bool(os.environ.get("VOICED_TEST_TORCH"))
"""Whether PyTorch is here and tested too, which `./install.sh --test --torch` says."""

# Made here, not on an event loop: they read files, as the daemon does before its loop runs.
INSTALLED = BackendRegistry()
INSTALLED.load("espeak")
INSTALLED.load("kokoro")
SHIPPED = Mappings.read(shipped(MAPPINGS))


class ScriptedBackend(TTSBackendBase):
    """A local engine whose every move a test decides: 10 ms of a constant per character."""

    is_local = True
    quality: ClassVar[int] = 1
    made: ClassVar[list[ScriptedBackend]] = []
    problem: ClassVar[Exception | None] = None
    fails_after_chunks: ClassVar[int | None] = None

    async def initialize(self) -> None:
        type(self).made.append(self)
        if self.problem is not None:
            raise self.problem
        self.spoken: list[str] = []
        self.is_closed = False

    def voices(self) -> Sequence[Voice]:
        return (Voice("one", "One", ("en",), RATE), Voice("zwei", "Zwei", ("de",), RATE))

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:
        return SegmentSizes(preferred=1, largest=400)

    def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        return self.lane.stream(segment, self._synthesize)

    def _synthesize(self, segment: Segment, emit: Emit) -> None:
        self.spoken.append(segment.text)
        for index, _ in enumerate(segment.text):
            if index == self.fails_after_chunks:
                raise RuntimeError("the engine broke")
            if not emit(PcmChunk(np.full(RATE // 100, 0.5, np.float32))):
                return

    async def close(self) -> None:
        self.is_closed = True


def scripted(
    *, problem: Exception | None = None, fails_after_chunks: int | None = None
) -> type[ScriptedBackend]:
    """Make a scripted backend class of its own, so that tests share no state."""
    return type(
        "Scripted",
        (ScriptedBackend,),
        {"made": [], "problem": problem, "fails_after_chunks": fails_after_chunks},
    )


UNAVAILABLE = BackendUnavailable("The fake has no key; set FAKE_KEY.")


@asynccontextmanager
async def running_manager(
    types: Mapping[str, type[TTSBackendBase]] | None = None,
    *,
    defaults: SpeechDefaults | None = None,
    mappings: Mappings | None = None,
    settings: Mapping[str, BackendSettings] | None = None,
    idle_unload_s: float = 0,
    unasked: Collection[str] = (),
    phrases: PhraseCache | None = None,
    on_report: Callable[[SpeechReport], None] = lambda _: None,
    lane: Lane | None = None,
) -> AsyncIterator[TTSBackendManager]:
    """A manager with a backend of each type under its type's name; espeak where none is given."""
    registry = BackendRegistry(types) if types else INSTALLED
    lane = lane or Lane()
    pool = await asyncio.to_thread(  # it looks for files
        BackendPool,
        settings or {name: BackendSettings(type=name) for name in types or ("espeak",)},
        registry=registry,
        lane=lane,
        idle_unload_s=idle_unload_s,
        unasked=frozenset(unasked),
    )
    manager = TTSBackendManager(
        pool,
        mappings=mappings or SHIPPED,
        defaults=defaults,
        phrases=phrases,
        on_report=on_report,
    )
    try:
        yield manager
    finally:
        await manager.close()
        await lane.close()


@dataclass
class Parts:
    """A running daemon's parts."""

    manager: TTSBackendManager
    websocket: WebSocketDoor
    http: HttpDoor
    websocket_port: int
    http_port: int
    wyoming_port: int
    reports: list[SpeechReport] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.websocket_port}{PATH}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@asynccontextmanager
async def running_parts(
    types: Mapping[str, type[TTSBackendBase]] | None = None,
    *,
    policy: AccessPolicy | None = None,
    limits: SessionLimits | None = None,
    max_sessions: int = 256,
    defaults: SpeechDefaults | None = None,
    settings: Mapping[str, BackendSettings] | None = None,
    read_s: float = 30,
    is_catalogue_public: bool = True,
    lane: Lane | None = None,
) -> AsyncIterator[Parts]:
    """Both doors on free ports of the loopback."""
    policy = policy or AccessPolicy()
    metrics = Metrics()
    reports: list[SpeechReport] = []

    def on_report(report: SpeechReport) -> None:
        reports.append(report)
        metrics.observe(report)

    async with running_manager(
        types, defaults=defaults, settings=settings, on_report=on_report, lane=lane
    ) as manager:
        for backend_id in settings or types or ("espeak",):
            try:
                await manager.get_backend(backend_id)
            except BackendUnavailable:
                continue
        websocket = WebSocketDoor(
            manager,
            policy=policy,
            greeting=Greeting(
                version="0.0.0",
                session="",
                server_id="0" * 32,
                server_name="test",
                defaults={"model": "auto", "voice": "", "sample_rate": RATE},
                limits=limits or SessionLimits(),
            ),
            max_sessions=max_sessions,
        )
        http = HttpDoor(
            manager,
            policy=policy,
            metrics=metrics,
            version="0.0.0",
            max_speeches=max_sessions,
            read_s=read_s,
            is_catalogue_public=is_catalogue_public,
        )
        wyoming = WyomingDoor(manager, version="0.0.0")
        made = Parts(
            manager,
            websocket,
            http,
            await websocket.start("127.0.0.1", 0),
            await http.start("127.0.0.1", 0),
            await wyoming.start("127.0.0.1", 0),
            reports,
        )
        try:
            yield made
        finally:
            await websocket.close()
            await http.close()
            await wyoming.close()


def cut_off(parts: Parts) -> None:
    """Drop every session without a word, as a network does."""
    for client in list(parts.websocket._clients):
        client.abort()


async def eventually(is_so: Callable[[], bool], *, seconds: float = 5) -> None:
    """Wait for something that other tasks or processes bring about."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.005)


def request(text: str, **fields: Any) -> OpenAISpeechRequest:
    return OpenAISpeechRequest(input=text, **fields)


async def speak(
    manager: TTSBackendManager, text: str, *, sample_rate: int = RATE, **fields: Any
) -> tuple[list[SpeechEvent], bytes]:
    """Speak through the manager; return the events other than audio, and the audio."""
    plan = manager.plan(
        request(text, **fields), default_format=AudioFormat.PCM, sample_rate=sample_rate
    )
    events: list[SpeechEvent] = []
    audio = b""
    async for event in manager.speak(plan, label="test"):
        if isinstance(event, AudioFrame):
            audio += event.data
        else:
            events.append(event)
    return events, audio


def decode(data: bytes, *, container: str | None = None) -> tuple[np.ndarray[Any, Any], int]:
    """Decode with FFmpeg, as a listener's player would; return samples (+-1.0) and rate."""
    with av.open(io.BytesIO(data), "r", format=container) as opened:
        stream = opened.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono")
        frames = [f for frame in opened.decode(stream) for f in resampler.resample(frame)]
        rate = stream.rate
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), rate


def fenced(document: str, language: str) -> list[str]:
    """Return the code blocks of one language in a file of `docs/`, or the README."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def documented_backend() -> type[TTSBackendBase]:
    """Return the backend that `docs/backends.md` shows, run from the page as it stands."""
    example = next(block for block in fenced("docs/backends.md", "python") if "class " in block)
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(example, "docs/backends.md", "exec"), names)  # our own page
    kind: type[TTSBackendBase] = names["ToneBackend"]
    return kind


class Options(SharedOptions):
    """Options of nobody, for tests that need some."""
