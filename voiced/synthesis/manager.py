"""`TTSBackendManager`: the one door to speech. Read this first.

`plan` turns a request's names into a plan, at once and without I/O, so that a wrong one is
refused before anything begins; `speak` carries a plan out. Between them stand the rules of who
speaks: the mapping of model names, `auto`, and the fallback for a backend that is unavailable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from voiced.backends.base import TTSBackendBase
from voiced.errors import BackendUnavailable, VoicedError, VoiceNotFound
from voiced.reading.lexicon import Lexicon
from voiced.request import Plan, SpeechRequest, check_length
from voiced.speech import AudioFormat, EndReason, Priority, SpeechEvent
from voiced.synthesis.casting import Casting, fallback_notice
from voiced.synthesis.catalogue import Catalogue, SpeechDefaults, checked_options
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.phrases import PhraseCache
from voiced.synthesis.pipeline import speak
from voiced.synthesis.pool import AUTO, BackendPool
from voiced.synthesis.report import SpeechReport

log = logging.getLogger(__name__)


class TTSBackendManager:
    """Owns a pool of backends: says who speaks, speaks with them, closes them all.

    For one event loop. `close` is the owner's duty.
    """

    def __init__(
        self,
        pool: BackendPool,
        *,
        mappings: Mappings,
        defaults: SpeechDefaults | None = None,
        lexicon: Lexicon | None = None,
        phrases: PhraseCache | None = None,
        on_report: Callable[[SpeechReport], None] = lambda _: None,
    ) -> None:
        """Load nothing yet.

        Raises:
            ConfigError: a name in the defaults means nothing.
        """
        self.defaults = defaults or SpeechDefaults()
        self.lexicon = lexicon or Lexicon()
        self.phrases = phrases or PhraseCache()
        self._pool = pool
        self._catalogue = Catalogue(self._pool, mappings, self.defaults)
        self.models = self._catalogue.models
        self.model = self._catalogue.model
        self.voices = self._catalogue.voices
        self.voices_by_backend = self._catalogue.voices_by_backend
        self.find_voice = self._catalogue.find_voice
        self.usual_backend = self._catalogue.usual_backend
        self.states = self._catalogue.states
        self.is_whole = self._pool.is_whole
        self.trouble = self._pool.trouble
        self.real_time_factor = self._pool.real_time_factor
        self.real_time_factors = self._pool.real_time_factors
        self.usual = self._catalogue.usual
        self.use_mappings = self._catalogue.use_mappings
        self._on_report = on_report
        self._speaking = 0

    @property
    def speaking(self) -> int:
        """How many speeches are being spoken now."""
        return self._speaking

    async def get_backend(self, backend_id: str) -> TTSBackendBase:
        """Return the backend, loaded once however many ask for it at the same time.

        Raises:
            BackendUnavailable: it is not configured, or cannot work; the message says the cure.
        """
        return await self._pool.get(backend_id)

    def preloaded(self, wanted: Iterable[str]) -> list[str]:
        """Return the backends to load at start: those wanted, and that of the usual model."""
        return list(dict.fromkeys([*wanted, self._catalogue.backend_id(self.defaults.model)]))

    def import_packages(self, wanted: Iterable[str]) -> None:
        """Import what those backends need and holds the event loop; before anybody is served."""
        for backend_id in self.preloaded(wanted):
            self._pool.import_packages(backend_id)

    async def close(self) -> None:
        """Close every backend. No speech may be running."""
        await self._pool.close()

    # ------------------------------------------------------------------------------- speaking

    def plan(
        self,
        request: SpeechRequest,
        *,
        default_format: AudioFormat,
        sample_rate: int,
        wants_words: bool = False,
    ) -> Plan:
        """Look up who is to speak a request. Instant; what it cannot know yet `speak` raises.

        `wants_words` asks backends for the times of words that cost them more.

        Raises:
            ModelNotFound, VoiceNotFound, InvalidOption, LanguageNotSupported, TextTooLong,
            RequestError: the request is wrong.
            BackendUnavailable: nothing can speak it, or not the one that `strict` insists on.
        """
        text = request.text()
        check_length(len(text), limit=self.defaults.max_input_chars, param="input")
        asked = request.model or self.defaults.model
        if asked == AUTO:
            self._pool.prepare_best_local()
            wanted = self._catalogue.best_for(request)
        else:
            wanted = self._catalogue.backend_id(asked)
        model = request.model or self._catalogue.public_name(wanted)
        kind = self._pool.kind(wanted)
        checked_options(kind, request.model_specific_options)
        problem = self._pool.problem(wanted)
        is_strict = request.model_specific_options.get("strict") is True
        others = () if is_strict else self._catalogue.fallbacks(wanted)
        usable = tuple(i for i in dict.fromkeys([wanted, *others]) if not self._pool.problem(i))
        if not usable:
            raise problem or BackendUnavailable("No backend is available.")
        plan = Plan(
            request=request,
            text=text,
            model=model,
            backend_ids=usable,
            response_format=request.response_format or default_format,
            sample_rate=sample_rate,
            wants_words=wants_words,
            notices=(fallback_notice(wanted, usable[0], problem),) if problem else (),
        )
        if not problem and (backend := self._pool.loaded(wanted)):
            try:
                self._catalogue.voice(backend, wanted, request)
            except VoiceNotFound:
                if not backend.learns_voices:
                    raise
        return plan

    async def speak(
        self, plan: Plan, *, label: str, priority: Priority = Priority.NORMAL
    ) -> AsyncGenerator[SpeechEvent, None]:
        """Speak a plan: the events of `pipeline.speak`.

        `label` names the speech in the log. Closing the generator stops the engine.

        Raises:
            VoicedError: before the first event where nothing could speak it; later where the
                backend failed on the way, and nobody stood in.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        report = SpeechReport(label, plan.model)
        casting = Casting(
            plan,
            pool=self._pool,
            catalogue=self._catalogue,
            defaults=self.defaults,
            lexicon=self.lexicon,
            phrases=self.phrases,
            priority=priority,
        )
        self._speaking += 1
        try:
            with casting:
                async with aclosing(speak(plan.text, casting)) as events:
                    async for event in events:
                        report.note(event, (loop.time() - began) * 1000)
                        yield event
            report.reason = EndReason.COMPLETE
        except VoicedError as error:
            report.reason, report.error = EndReason.FAILED, error.code
            raise
        except Exception as error:
            report.reason, report.error = EndReason.FAILED, VoicedError.code
            log.exception("speech %s failed", label)
            raise VoicedError("The daemon failed; its log says where.") from error
        finally:
            self._speaking -= 1
            report.characters = len(plan.text)
            report.total_ms = (loop.time() - began) * 1000
            self._on_report(report)
