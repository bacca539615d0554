"""`Catalogue`: which names mean which backends and voices, and what there is."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from voiced.backends.base import FirstSegment, SharedOptions, TTSBackendBase
from voiced.errors import (
    BackendUnavailable,
    ConfigError,
    InvalidOption,
    ModelNotFound,
    RequestError,
)
from voiced.reading.markup import CodeReading
from voiced.request import BackendState, ModelInfo, ModelVoice, SpeechRequest
from voiced.speech import OPENAI_RATE, Voice
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.pool import AUTO, BackendPool

_NOTHING_ASKED = SpeechRequest()


@dataclass(frozen=True, slots=True)
class SpeechDefaults:
    """What holds where a request says nothing."""

    model: str = AUTO
    voice: str = ""
    language: str = ""
    fallback: str = AUTO
    fallback_midway: bool = True
    first_segment: FirstSegment = "clause"
    code_blocks: CodeReading = "announce"
    reads_aloud: bool = True
    lead_silence_ms: int = 0
    tail_silence_ms: int = 0
    max_input_chars: int = 32768


class Catalogue:
    """Looks names up in the mappings, among the backends of a pool, under the defaults."""

    def __init__(self, pool: BackendPool, mappings: Mappings, defaults: SpeechDefaults) -> None:
        """Begin with these tables.

        Raises:
            ConfigError: a name in the defaults means nothing.
        """
        self._pool = pool
        self._defaults = defaults
        self._mappings = Mappings({}, {})
        self.use_mappings(mappings)

    def states(self) -> dict[str, BackendState]:
        """Return what every configured backend could do if asked now."""
        return {backend_id: self._pool.state(backend_id) for backend_id in self._pool.ids()}

    def usual(self) -> dict[str, Any]:
        """Return the model, voice and rate of a request that asks for none, as far as known."""
        backend_id = self.usual_backend()
        backend = self._pool.loaded(backend_id)
        voice = self.voice(backend, backend_id, _NOTHING_ASKED).id if backend else ""
        return {"model": self.usual_model(), "voice": voice, "sample_rate": OPENAI_RATE}

    def usual_backend(self) -> str:
        """Return the id of the backend that speaks where a request names no model."""
        return self.backend_id(self._defaults.model)

    def usual_model(self) -> str:
        """Return the public name of the model that speaks where a request names none."""
        return self.public_name(self.usual_backend())

    def use_mappings(self, mappings: Mappings) -> None:
        """Look names up in these tables from now on.

        Raises:
            ConfigError: a name in the defaults would mean nothing; the old tables stay.
        """
        defaults, ids = self._defaults, self._pool.ids()
        fallbacks = {backend_id: self._pool.fallback(backend_id) for backend_id in ids}
        named = model_keys(defaults.model, defaults.fallback, fallbacks)
        if problems := unknown_names(mappings, ids, named):
            raise ConfigError(problems)
        self._mappings = mappings

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
        return self._model_info(name, self.backend_id(name))

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
            backend_id = self.backend_id(model)
            found = await self._voices_of(model, backend_id)
        else:
            found = []
            for backend_id in self._pool.ids():
                try:
                    found += await self._voices_of(self.public_name(backend_id), backend_id)
                except BackendUnavailable:
                    continue  # models/list says so, with the cure
        return [v for v in found if language is None or v.voice.speaks(language)]

    def find_voice(self, name: str, speaker: str | None = None) -> tuple[str | None, str | None]:
        """Return the backend and its voice that "voice" or "backend/voice" means.

        None for both where nothing that is loaded knows it. Which backend is the usual one may
        change, so a plain name may be that of a voice of any. One that is named, and not loaded
        yet, is believed to have the voice.
        """
        backend_id, _, plain = name.partition("/")
        usual = self.usual_backend()
        others = [i for i in self._pool.ids() if i != usual and self._pool.loaded(i)]
        believed: tuple[str | None, str | None] = (None, None)
        for wanted, voice in ((backend_id, plain), *((i, name) for i in (usual, *others))):
            if not voice or self._pool.problem(wanted):
                continue
            backend = self._pool.loaded(wanted)
            for spelled in (f"{voice}#{speaker}", voice) if speaker else (voice,):
                if backend is None:
                    believed = believed if believed[0] else (wanted, spelled)
                elif backend.find_voice(spelled):
                    return wanted, spelled
        return believed

    async def voices_by_backend(
        self, known: Mapping[str, Sequence[Voice]]
    ) -> AsyncGenerator[tuple[str, Sequence[Voice]], None]:
        """Yield each backend's voices, none where it cannot be used; those that are loaded first.

        The others are loaded for it, but not where their voices are `known` already.
        """
        for backend_id in sorted(self._pool.ids(), key=lambda i: self._pool.loaded(i) is None):
            voices = known.get(backend_id, ())
            if self._pool.problem(backend_id):
                voices = ()
            elif self._pool.loaded(backend_id) or not voices:
                try:
                    found = await self._voices_of(backend_id, backend_id)
                except BackendUnavailable:
                    found = []
                voices = [entry.voice for entry in found]
            yield backend_id, voices

    async def _voices_of(self, model: str, backend_id: str) -> list[ModelVoice]:
        backend = await self._pool.get(backend_id)
        await self._pool.refresh(backend_id)
        return [ModelVoice(model, voice) for voice in backend.voices()]

    def public_name(self, backend_id: str) -> str:
        """Return the model name that stands for a backend; its id where none does."""
        return next(iter(self._mappings.names(backend_id)), backend_id)

    def best_for(self, request: SpeechRequest) -> str:
        """Return the best local backend that has the voice and the language of a request.

        Of one that is not loaded nobody knows yet.
        """
        for backend_id in self._pool.locals():
            backend = self._pool.loaded(backend_id)
            if backend is None or self._can_speak(backend, backend_id, request):
                return backend_id
        return self._pool.best_local()

    def _can_speak(self, backend: TTSBackendBase, backend_id: str, request: SpeechRequest) -> bool:
        try:
            voice = self.voice(backend, backend_id, request)
        except RequestError:
            return False
        language = request.language or self._defaults.language
        return bool(request.voice) or not language or voice.speaks(language)

    def backend_id(self, name: str) -> str:
        """Return the backend that a model name means.

        Raises:
            ModelNotFound: nothing is called that.
        """
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

    def fallbacks(self, backend_id: str) -> list[str]:
        """Return who speaks where a backend cannot: its own fallback, then what is local."""
        name = self._pool.fallback(backend_id)
        if name is None:
            name = self._defaults.fallback
        return [self.backend_id(name), *self._pool.locals()] if name else []

    def voice(
        self,
        backend: TTSBackendBase,
        backend_id: str,
        request: SpeechRequest,
        *,
        is_fallback: bool = False,
        instead_of: Voice | None = None,
    ) -> Voice:
        """Choose the voice of a backend for a request; a fallback knows none of the names.

        Where no language is asked for, a voice asked for by name tells it: `instead_of` is what
        the failed backend had under that name.

        Raises:
            VoiceNotFound, LanguageNotSupported: the request is wrong for this backend.
        """
        language = request.language or self._defaults.language or None
        if instead_of is not None and request.voice and language is None:
            language = instead_of.languages[0]
        name = request.voice or self._defaults.voice or None
        if name is not None and backend.find_voice(name) is None:
            kind = backend.settings.type
            alias = self._mappings.voice(name, backend_id=backend_id, backend_type=kind)
            if alias is not None and backend.find_voice(alias):
                name = alias
            elif (
                is_fallback
                or not request.voice
                or request.may_take_another_voice
                or self._mappings.is_alias(name)
            ):
                name = None  # only a name that the client means to be one here can be wrong
        try:
            return backend.choose_voice(name, language)
        except RequestError:
            if is_fallback or not request.language:
                return backend.choose_voice(name, None)
            raise


def model_keys(
    model: str, fallback: str, fallbacks: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return the keys of the configuration that name a model; `fallbacks` are by backend id."""
    own = {f"backends.{backend_id}.fallback": name for backend_id, name in fallbacks.items()}
    return {"defaults.model": model, "defaults.fallback": fallback, **own}


def unknown_names(
    mappings: Mappings, backend_ids: Iterable[str], named: Mapping[str, str | None]
) -> list[str]:
    """Say which keys of the configuration name a model that is none, a line for each."""
    known = {AUTO, *backend_ids, *mappings.models, *mappings.models.values()}
    return [
        f"{key}: there is no model {name!r}; there are {', '.join(sorted(known))}."
        for key, name in named.items()
        if name and name not in known
    ]


def checked_options(
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


@functools.cache
def _schema(options: type[SharedOptions]) -> dict[str, Any]:
    return options.model_json_schema()
