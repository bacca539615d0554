"""`TTSBackendManager`: the one door to speech. Read this first.

`plan` turns a request's names into a plan, at once and without I/O, so that a wrong one is
refused before anything begins; `speak` carries a plan out. Between them stand the rules of who
speaks: the mapping of model names, `auto`, and the fallback for a backend that is unavailable.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from voiced.backends.base import BackendSettings, EngineLane, SharedOptions, TTSBackendBase
from voiced.backends.registry import BackendRegistry
from voiced.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InvalidOption,
    ModelNotFound,
    RequestError,
    VoicedError,
)
from voiced.reading.markup import CodeReading
from voiced.request import BackendState, ModelInfo, ModelVoice, Plan, SpeechRequest, check_length
from voiced.speech import (
    OPENAI_RATE,
    AudioFormat,
    AudioFrame,
    EndReason,
    Notice,
    Priority,
    SpeechEvent,
    SpeechStart,
    Voice,
)
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.pipeline import Cast, speak
from voiced.synthesis.pool import AUTO, BackendPool
from voiced.synthesis.segmenter import FirstSegment

log = logging.getLogger(__name__)

_NOTHING_ASKED = SpeechRequest()


@dataclass(frozen=True, slots=True)
class SpeechDefaults:
    """What holds where a request says nothing."""

    model: str = AUTO
    voice: str = ""
    language: str = ""
    fallback: str = AUTO
    first_segment: FirstSegment = "clause"
    code_blocks: CodeReading = "announce"
    max_input_chars: int = 32768


@dataclass(slots=True)
class SpeechReport:
    """What became of a speech, for the log and the metrics."""

    label: str
    model: str
    characters: int = 0
    backend: str = ""
    voice: str = ""
    samples: int = 0
    first_audio_ms: float | None = None
    total_ms: float = 0.0
    reason: EndReason = EndReason.CANCELLED
    error: str | None = None

    def note(self, event: SpeechEvent, elapsed_ms: float) -> None:
        """Take down what an event tells."""
        if isinstance(event, SpeechStart):
            self.backend, self.voice = event.backend, event.voice
        elif isinstance(event, AudioFrame) and event.samples:
            self.samples += event.samples
            if self.first_audio_ms is None:
                self.first_audio_ms = elapsed_ms


class TTSBackendManager:
    """Owns the backends: makes each at most once, speaks with them, closes them all.

    For one event loop. `close` is the owner's duty.
    """

    def __init__(
        self,
        backends: Mapping[str, BackendSettings],
        *,
        registry: BackendRegistry,
        mappings: Mappings,
        lane: EngineLane,
        defaults: SpeechDefaults | None = None,
        idle_unload_s: float = 0,
        on_report: Callable[[SpeechReport], None] = lambda _: None,
    ) -> None:
        """Load nothing yet; a local backend idle for `idle_unload_s` is unloaded, 0 never.

        Raises:
            ConfigError: a name in the defaults means nothing.
        """
        self._mappings = Mappings({}, {})
        self.defaults = defaults or SpeechDefaults()
        self._pool = BackendPool(
            backends, registry=registry, lane=lane, idle_unload_s=idle_unload_s
        )
        self._on_report = on_report
        self.use_mappings(mappings)
        self._speaking = 0

    @property
    def speaking(self) -> int:
        """How many speeches are being spoken now."""
        return self._speaking

    def states(self) -> dict[str, BackendState]:
        """Return what every configured backend could do if asked now."""
        return {backend_id: self._pool.state(backend_id) for backend_id in self._pool.ids()}

    def usual(self) -> dict[str, Any]:
        """Return the model, voice and rate of a request that asks for none, as far as known."""
        backend_id = self._backend_id(self.defaults.model)
        backend = self._pool.loaded(backend_id)
        voice = self._voice(backend, backend_id, _NOTHING_ASKED).id if backend else ""
        model = self._public_name(backend_id)
        return {"model": model, "voice": voice, "sample_rate": OPENAI_RATE}

    def use_mappings(self, mappings: Mappings) -> None:
        """Look names up in these tables from now on.

        Raises:
            ConfigError: a name in the defaults would mean nothing; the old tables stay.
        """
        defaults = self.defaults
        if problems := unknown_names(
            mappings, self._pool.ids(), model=defaults.model, fallback=defaults.fallback
        ):
            raise ConfigError(problems)
        self._mappings = mappings

    async def get_backend(self, backend_id: str) -> TTSBackendBase:
        """Return the backend, loaded once however many ask for it at the same time.

        Raises:
            BackendUnavailable: it is not configured, or cannot work; the message says the cure.
        """
        return await self._pool.get(backend_id)

    async def close(self) -> None:
        """Close every backend. No speech may be running."""
        await self._pool.close()

    # ---------------------------------------------------------------------- models and voices

    def models(self) -> list[ModelInfo]:
        """List every public model name, then the backends that only have their id."""
        names = dict(self._mappings.models)
        names |= {i: i for i in self._pool.ids() if i not in set(names.values())}
        return [
            self._model_info(AUTO, self._pool.best_local()),
            *(self._model_info(name, backend_id) for name, backend_id in names.items()),
        ]

    def model(self, name: str) -> ModelInfo:
        """Describe one model name.

        Raises:
            ModelNotFound: nothing is called that.
        """
        return self._model_info(name, self._backend_id(name))

    def _model_info(self, name: str, backend_id: str) -> ModelInfo:
        problem = self._pool.problem(backend_id)
        kind = self._pool.kind(backend_id)
        return ModelInfo(
            id=name,
            backend=backend_id,
            state=self._pool.state(backend_id),
            local=kind.is_local if kind else False,
            cure=problem.message if problem else None,
            options=_schema(kind.options_model if kind else SharedOptions),
        )

    async def voices(
        self, *, model: str | None = None, language: str | None = None
    ) -> list[ModelVoice]:
        """List the voices of one model, or of every backend that is there.

        Raises:
            ModelNotFound, BackendUnavailable: only where a model is named.
        """
        if model is not None:
            backend_id = self._backend_id(model)
            found = self._model_voices(model, await self.get_backend(backend_id))
        else:
            found = []
            for backend_id in self._pool.ids():
                try:
                    backend = await self.get_backend(backend_id)
                except BackendUnavailable:
                    continue  # models/list says so, with the cure
                found += self._model_voices(self._public_name(backend_id), backend)
        return [v for v in found if language is None or v.voice.speaks(language)]

    @staticmethod
    def _model_voices(model: str, backend: TTSBackendBase) -> list[ModelVoice]:
        return [ModelVoice(model, voice) for voice in backend.voices()]

    def _public_name(self, backend_id: str) -> str:
        names = (name for name, known in self._mappings.models.items() if known == backend_id)
        return next(names, backend_id)

    def _backend_id(self, name: str) -> str:
        if name == AUTO:
            return self._pool.best_local()
        if name in self._mappings.models:
            return self._mappings.models[name]
        if name in self._pool.ids() or name in self._mappings.models.values():
            return name
        raise ModelNotFound(
            f"There is no model {name[:64]!r}; models/list and /v1/models have those there are.",
            param="model",
        )

    # ------------------------------------------------------------------------------- speaking

    def plan(
        self,
        request: SpeechRequest,
        *,
        default_format: AudioFormat,
        sample_rate: int,
    ) -> Plan:
        """Look up who is to speak a request. Instant; what it cannot know yet `speak` raises.

        Raises:
            ModelNotFound, VoiceNotFound, InvalidOption, LanguageNotSupported, TextTooLong,
            RequestError: the request is wrong.
            BackendUnavailable: nothing can speak it, or not the one that `strict` insists on.
        """
        text = request.text()
        check_length(len(text), limit=self.defaults.max_input_chars, param="input")
        model = request.model or self.defaults.model
        wanted = self._backend_id(model)
        kind = self._pool.kind(wanted)
        _options(kind, request.model_specific_options)
        candidates = [wanted]
        is_strict = request.model_specific_options.get("strict") is True
        if self.defaults.fallback and not is_strict:
            candidates += [self._backend_id(self.defaults.fallback), self._pool.best_local()]
        usable = tuple(i for i in dict.fromkeys(candidates) if not self._pool.problem(i))
        if not usable:
            raise self._pool.problem(wanted) or BackendUnavailable("No backend is available.")
        plan = Plan(
            request=request,
            text=text,
            model=model,
            backend_ids=usable,
            response_format=request.response_format or default_format,
            sample_rate=sample_rate,
        )
        if usable[0] != wanted:
            plan = _with_fallback_notice(plan, wanted, usable[0])
        elif backend := self._pool.loaded(wanted):
            self._voice(backend, wanted, request)
        return plan

    async def speak(
        self, plan: Plan, *, label: str, priority: Priority = Priority.NORMAL
    ) -> AsyncGenerator[SpeechEvent, None]:
        """Speak a plan: the events of `pipeline.speak`, notices right after the start.

        `label` names the speech in the log. Closing the generator stops the engine.

        Raises:
            VoicedError: before the first event where nothing could speak it; later where the
                backend failed on the way.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        report = SpeechReport(label, plan.model)
        self._speaking += 1
        try:
            plan, cast = await self._cast(plan, priority=priority)
            with self._pool.using(cast.backend_id):
                async with aclosing(speak(plan.text, cast)) as events:
                    async for event in events:
                        report.note(event, (loop.time() - began) * 1000)
                        yield event
                        if isinstance(event, SpeechStart):
                            for notice in plan.notices:
                                yield notice
            report.reason = EndReason.COMPLETE
        except VoicedError as error:
            report.reason, report.error = EndReason.FAILED, error.code
            raise
        except Exception as error:
            report.reason, report.error = EndReason.FAILED, BackendError.code
            log.exception("speech %s failed in its backend", label)
            raise BackendError("The backend failed; see the daemon's log.") from error
        finally:
            self._speaking -= 1
            report.characters = len(plan.text)
            report.total_ms = (loop.time() - began) * 1000
            self._on_report(report)

    async def _cast(self, plan: Plan, *, priority: Priority) -> tuple[Plan, Cast]:
        """Load the first backend of the plan that can be loaded, and choose its voice."""
        *others, last = plan.backend_ids
        for backend_id, following in zip(others, plan.backend_ids[1:], strict=True):
            try:
                backend = await self.get_backend(backend_id)
            except BackendUnavailable:
                plan = _with_fallback_notice(plan, backend_id, following)
                continue
            break
        else:
            backend_id, backend = last, await self.get_backend(last)
        request, is_fallback = plan.request, bool(plan.notices)
        return plan, Cast(
            model=plan.model,
            backend_id=backend_id,
            backend=backend,
            voice=self._voice(backend, backend_id, request, is_fallback=is_fallback),
            options=_options(
                type(backend), request.model_specific_options, is_fallback=is_fallback
            ),
            first_segment=self.defaults.first_segment,
            code_blocks=self.defaults.code_blocks,
            response_format=plan.response_format,
            sample_rate=plan.sample_rate,
            speed=request.speed,
            language=request.language,
            instructions=request.instructions,
            priority=priority,
        )

    def _voice(
        self,
        backend: TTSBackendBase,
        backend_id: str,
        request: SpeechRequest,
        *,
        is_fallback: bool = False,
    ) -> Voice:
        language = request.language or self.defaults.language or None
        name = request.voice or self.defaults.voice or None
        if name is not None and backend.find_voice(name) is None:
            kind = backend.settings.type
            alias = self._mappings.voice(name, backend_id=backend_id, backend_type=kind)
            if alias is not None and backend.find_voice(alias):
                name = alias
            elif is_fallback or not request.voice:  # only what the client asked for can be wrong
                name = None
        try:
            return backend.choose_voice(name, language)
        except RequestError:
            if is_fallback or not request.language:
                return backend.choose_voice(name, None)
            raise


def unknown_names(
    mappings: Mappings, backend_ids: Iterable[str], *, model: str, fallback: str
) -> list[str]:
    """Say which names in the defaults mean nothing, a line for each."""
    known = {AUTO, *backend_ids, *mappings.models, *mappings.models.values()}
    return [
        f"defaults.{key}: there is no model {name!r}; there are {', '.join(sorted(known))}."
        for key, name in (("model", model), ("fallback", fallback or AUTO))
        if name not in known
    ]


@functools.cache
def _schema(options: type[SharedOptions]) -> dict[str, Any]:
    return options.model_json_schema()


def _with_fallback_notice(plan: Plan, wanted: str, speaking: str) -> Plan:
    notice = Notice(
        "backend_fallback", f"The backend {wanted!r} is unavailable; {speaking!r} speaks instead."
    )
    return replace(plan, notices=(*plan.notices, notice))


def _options(
    kind: type[TTSBackendBase] | None, given: dict[str, Any], *, is_fallback: bool = False
) -> SharedOptions:
    """Check the options by the backend's own model.

    A fallback takes the shared ones of them, and of an unknown kind only those can be checked.
    """
    model = kind.options_model if kind else SharedOptions
    if is_fallback or kind is None:
        given = {key: value for key, value in given.items() if key in SharedOptions.model_fields}
    try:
        return model.model_validate(given)
    except ValidationError as failure:
        fault = failure.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            message = f"There is no option {name!r} here; there are {known}."
        else:
            message = f"The option {name!r} is wrong: {fault['msg']}."
        param = f"model_specific_options.{name}"
        raise InvalidOption(message, param=param) from None
