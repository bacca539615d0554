"""`EspeakProcess`: espeak-ng in a process of its own, asked and answered over a socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import voiced
from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.espeak.messages import Channel, Reply, read_audio
from voiced.errors import BackendError, BackendUnavailable
from voiced.reading.speakable import speakable

_NORMAL_WORDS_PER_MINUTE = 175
_ROOT = Path(voiced.__file__).parent.parent
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")  # of the environment
_SILENT_S = 20  # without a message; espeak makes a minute of speech in 50 ms


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """A voice file of espeak-ng."""

    identifier: str  # "gmw/en-US"
    name: str  # "English (America)"
    languages: tuple[str, ...]  # the most fitting first

    @property
    def id(self) -> str:
        """The short name that people use: "en-us"."""
        return self.identifier.rpartition("/")[2].lower()


@dataclass(frozen=True, slots=True)
class EspeakSound:
    """How to say it, beside the voice."""

    speed: float = 1.0
    pitch: int = 50
    word_gap: int = 0
    ssml: bool = False


OnAudio = Callable[[bytes, list[tuple[int, int]]], bool]
"""Takes 16-bit samples and the words in them (character from 0, sample); False to stop."""


class EspeakProcess:
    """A worker. For one thread at a time; its calls block.

    A text that ends espeak ends a fork of the worker, and is a `BackendError`. A worker that died
    is started again by the next call.
    """

    def __init__(self, files: EspeakFiles) -> None:
        """Start nothing yet."""
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def list_voices(self) -> tuple[list[EspeakVoice], frozenset[str], int]:
        """Return the voices that can speak, the variants that any may have, and their rate in Hz.

        Raises:
            BackendUnavailable: the library or its data do not load.
        """
        told = self._told({"do": "voices"})
        voices = [EspeakVoice(file, name, tuple(tags)) for file, name, tags in told["voices"]]
        return voices, frozenset(told["variants"]), told["rate"]

    def phonemes(self, texts: list[str], voice: str) -> list[str]:
        """Return what each text sounds like with a voice file, in IPA with stress marks.

        Raises:
            BackendError: espeak could not read one of them.
        """
        plain = [speakable(text) for text in texts]
        told: list[str] = self._told({"do": "phonemes", "voice": voice, "texts": plain})
        return told

    def speak(
        self, text: str, *, voice: str, sound: EspeakSound, on_audio: OnAudio, then: str
    ) -> None:
        """Speak `text` in one go, calling `on_audio` as samples are made.

        Text is text: what espeak would take for commands is blanked out, character by character,
        so that positions stay true. `voice` is a voice file, and `then` the one to be ready with.
        An exception of `on_audio` stops espeak and is raised here.

        Raises:
            BackendError: espeak could not speak it.
        """
        request = {
            "do": "speak",
            "voice": voice,
            "text": speakable(text),
            "rate": round(_NORMAL_WORDS_PER_MINUTE * sound.speed),
            "pitch": sound.pitch,
            "word_gap": sound.word_gap,
            "ssml": sound.ssml,
            "then": then,
        }
        is_stopped = False
        failure: BaseException | None = None
        for reply in self._replies(request):
            if is_stopped:
                continue  # what was on its way
            try:
                samples, words = read_audio(reply)
                is_stopped = not on_audio(samples, list(zip(words[::2], words[1::2], strict=True)))
            except BaseException as error:  # noqa: BLE001  # the worker is stopped first
                is_stopped, failure = True, error
            if is_stopped:
                assert self._channel is not None
                self._channel.send(b"")
        if failure:
            raise failure

    def close(self) -> None:
        """End the worker. It may be asked again, and is then started again."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if channel is not None:
            channel.close()
        if process is not None:
            process.wait()

    def _told(self, request: dict[str, Any]) -> Any:
        (reply,) = self._replies(request)
        return json.loads(reply[1:])

    def _replies(self, request: dict[str, Any]) -> Iterator[bytes]:
        """Send a request; yield what comes, audio or an answer, until it is done."""
        channel = self._channel or self._start()
        refusal = ""
        try:
            channel.send(json.dumps(request).encode())
            while (message := channel.receive(within_s=_SILENT_S))[:1] != Reply.ENDED:
                if message[:1] == Reply.FAILED:
                    refusal = message[1:].decode()
                else:
                    yield message
        except (EOFError, OSError):
            self._kill()
            raise BackendError("The process that runs espeak-ng has died; try again.") from None
        if refusal:
            raise BackendError(refusal)
        if message[1:] != b"0":
            raise BackendError(
                "espeak-ng breaks on some character of this text; leave out what is no word."
            )

    def _start(self) -> Channel:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # Without `site`, which takes a megabyte and 5 ms: all it needs is this package.
            command = [sys.executable, "-S", "-P", "-m", "voiced.backends.espeak.worker"]
            command += [str(theirs.fileno()), str(self._files.library), str(self._files.data)]
            self._process = subprocess.Popen(  # noqa: S603  # ourselves
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PYTHONPATH": str(_ROOT)} | _environment(),
            )
            self._channel = channel = Channel(ours.detach())
        try:
            hello = channel.receive(within_s=_SILENT_S)
        except (EOFError, OSError):
            self._kill()
            raise BackendUnavailable(
                "The process that runs espeak-ng does not start; is memory short?"
            ) from None
        if hello[:1] == Reply.FAILED:
            self.close()
            raise BackendUnavailable(hello[1:].decode())
        return channel

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.close()


def _environment() -> dict[str, str]:
    """Return what Python needs to run; the keys of providers are not for espeak's eyes."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ}
