"""`Casting`: who speaks a plan, and who stands in when that one fails."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from voiced.backends.base import SharedOptions, TTSBackendBase
from voiced.errors import BackendError, BackendUnavailable, VoiceNotFound
from voiced.reading.lexicon import Lexicon, Speaker
from voiced.reading.pronunciation import Pronunciation
from voiced.request import Plan
from voiced.speech import Notice, Priority, Voice
from voiced.synthesis.cast import Cast
from voiced.synthesis.catalogue import Catalogue, SpeechDefaults, checked_options
from voiced.synthesis.phrases import PhraseCache
from voiced.synthesis.pool import BackendPool

log = logging.getLogger(__name__)

_SILENCES = ("lead_silence_ms", "tail_silence_ms")


class Casting:
    """Goes through the backends of a plan, for one speech; while it is entered, none unloads."""

    def __init__(
        self,
        plan: Plan,
        *,
        pool: BackendPool,
        catalogue: Catalogue,
        defaults: SpeechDefaults,
        lexicon: Lexicon,
        phrases: PhraseCache,
        priority: Priority,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._catalogue = catalogue
        self._defaults = defaults
        self._lexicon = lexicon
        self._phrases = phrases
        self._priority = priority
        self._left = list(plan.backend_ids)
        self._asked = ""  # the backend that was asked last
        self._last: Cast | None = None
        self._original: BackendError | None = None  # of the one that was asked for
        self._notices = list(plan.notices)
        self._is_fallback = bool(plan.notices)
        self._in_use = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._in_use.close()

    async def first(self) -> Cast:
        """Return who speaks: the first that can be loaded.

        Raises:
            BackendError: none can; it is the problem of the one that was asked for.
            RequestError: the request is wrong for the one that could.
        """
        return await self._next(None)

    async def stand_in(self, failure: BackendError, *, is_midway: bool) -> Cast:
        """Return who speaks on after the last one failed, `is_midway` when it had been heard.

        Raises:
            BackendError: nobody can, or may; it is the failure of the one that was asked for.
        """
        if is_midway and not self._defaults.fallback_midway:
            raise self._original or failure
        return await self._next(failure)

    def take_notices(self) -> list[Notice]:
        """Return what the client is to be told by now, each once."""
        notices, self._notices = self._notices, []
        return notices

    async def _next(self, failure: BackendError | None) -> Cast:
        self._original = self._original or failure
        while self._left:
            backend_id = self._left.pop(0)
            if failure is not None:
                self._tell(self._asked, backend_id, failure)
            self._asked = backend_id
            try:
                self._last = await self._cast(backend_id)
            except BackendError as problem:
                failure = problem
                self._original = self._original or problem
            else:
                return self._last
        assert self._original is not None, "a plan has a backend"
        raise self._original

    def _tell(self, failed: str, speaking: str, failure: BackendError) -> None:
        self._is_fallback = True
        self._notices.append(fallback_notice(failed, speaking, failure))
        log.warning("backend %s: %s; %s speaks instead", failed, failure.code, speaking)

    async def _cast(self, backend_id: str) -> Cast:
        plan, request = self._plan, self._plan.request
        backend = await self._pool.get(backend_id)
        self._in_use.enter_context(self._pool.using(backend_id))
        try:
            voice = self._voice(backend, backend_id)
        except VoiceNotFound:
            if not backend.learns_voices:
                raise
            await self._pool.refresh(backend_id)  # it may be new
            voice = self._voice(backend, backend_id)
        return Cast(
            model=plan.model,
            backend_id=backend_id,
            backend=backend,
            voice=voice,
            options=self._options(backend),
            first_segment=self._defaults.first_segment,
            code_blocks=self._defaults.code_blocks,
            pronunciation=self._pronunciation(backend, backend_id, voice),
            response_format=plan.response_format,
            sample_rate=plan.sample_rate,
            speed=request.speed,
            language=request.language,
            instructions=request.instructions,
            priority=self._priority,
            wants_words=plan.wants_words,
            phrases=self._phrases,
            tell=self._note,
        )

    def _note(self, notice: Notice) -> None:
        if notice not in self._notices:
            self._notices.append(notice)

    def _options(self, backend: TTSBackendBase) -> SharedOptions:
        given = self._plan.request.model_specific_options
        options = checked_options(type(backend), given, is_fallback=self._is_fallback)
        usual = {name: getattr(self._defaults, name) for name in _SILENCES}
        left_out = usual.keys() - options.model_fields_set
        return options.model_copy(update={name: usual[name] for name in left_out})

    def _pronunciation(
        self, backend: TTSBackendBase, backend_id: str, voice: Voice
    ) -> Pronunciation:
        speaker = Speaker(
            language=(self._plan.request.language or voice.languages[0]).lower(),
            names=frozenset({backend_id, backend.settings.type}),
            takes_phonemes=backend.reads_phonemes,
        )
        reads_aloud = self._defaults.reads_aloud and not backend.reads_well
        return Pronunciation(self._lexicon, speaker, reads_aloud)

    def _voice(self, backend: TTSBackendBase, backend_id: str) -> Voice:
        return self._catalogue.voice(
            backend,
            backend_id,
            self._plan.request,
            is_fallback=self._is_fallback,
            instead_of=self._last.voice if self._last else None,
        )


def fallback_notice(wanted: str, speaking: str, failure: BackendError) -> Notice:
    """Tell that a backend speaks in the place of another one, and why."""
    is_unavailable = isinstance(failure, BackendUnavailable)
    why = "is unavailable" if is_unavailable else f"failed ({failure.code})"
    return Notice("backend_fallback", f"The backend {wanted!r} {why}; {speaking!r} speaks instead.")
