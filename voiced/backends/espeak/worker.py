"""The worker process: loads espeak-ng, and forks for everything that is asked of it.

    python -m voiced.backends.espeak.worker DESCRIPTOR LIBRARY DATA

A fork is what makes espeak exact and harmless: each has the state that the library had when it was
loaded, whatever was said before, and takes what espeak does to it along when it ends, be it a leak
or a crash. The next fork is made ahead of need, with the likeliest voice set, and waits.

It imports little, so as to be small and soon there. Messages are those of `process`; it ends when
the other end of the socket is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from voiced.backends.espeak.library import EspeakFailure, EspeakLibrary
from voiced.backends.espeak.messages import Channel, Reply, audio


class _Worker:
    def __init__(self, channel: Channel, library: EspeakLibrary) -> None:
        self._channel = channel
        self._library = library
        self._next = _Fork(self, "")

    def run(self) -> None:
        """Do what is asked, one after the other, until nobody can ask any more."""
        with suppress(EOFError, OSError):
            while True:
                if message := self._channel.receive():  # else a stop that came too late
                    self._do(message)
        self._next.discard()

    def _do(self, message: bytes) -> None:
        request = json.loads(message)
        voice = request.get("voice", "")
        if self._next.voice != voice:
            self._next.discard()
            self._next = _Fork(self, voice)
        status = self._next.run(message)
        self._channel.send(Reply.ENDED + str(status).encode())
        self._next = _Fork(self, request.get("then", voice))

    def set_voice(self, voice: str) -> EspeakFailure | None:
        """In a fork: have a voice ready; return why that cannot be."""
        try:
            if voice:
                self._library.set_voice(voice)
        except EspeakFailure as refusal:
            return refusal
        return None

    def answer(self, request: dict[str, Any], refusal: EspeakFailure | None) -> None:
        """In a fork: do one thing, or say why it cannot be done."""
        try:
            if refusal:
                raise refusal
            self._answer(request)
        except EspeakFailure as failure:
            self._channel.send(Reply.FAILED + str(failure).encode())

    def _answer(self, request: dict[str, Any]) -> None:
        match request["do"]:
            case "voices":
                told: Any = self._library.list_voices() | {"rate": self._library.sample_rate}
            case "phonemes":
                told = [self._library.phonemes(text) for text in request["texts"]]
            case _:
                sound = {k: request[k] for k in ("rate", "pitch", "word_gap", "ssml")}
                self._library.speak(request["text"], on_audio=self._send, **sound)
                return
        self._channel.send(Reply.TOLD + json.dumps(told).encode())

    def _send(self, samples: bytes, words: list[int]) -> bool:
        self._channel.send(audio(samples, words))
        return not self._channel.has_more()  # all that comes meanwhile is a stop


class _Fork:
    """A process that waits for one request, with its voice set."""

    def __init__(self, worker: _Worker, voice: str) -> None:
        self.voice = voice
        ear, self._mouth = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._live(worker, ear)
        os.close(ear)

    def _live(self, worker: _Worker, ear: int) -> NoReturn:
        os.close(self._mouth)
        with suppress(OSError):  # nobody listens any more
            refusal = worker.set_voice(self.voice)
            with open(ear, "rb") as opened:
                message = opened.read()
            if message:
                worker.answer(json.loads(message), refusal)
        os._exit(0)

    def run(self, message: bytes) -> int:
        """Let it do what it waited for; return how it ended, 0 or minus a signal's number."""
        with suppress(BrokenPipeError), open(self._mouth, "wb") as mouth:
            mouth.write(message)
        return self._wait()

    def discard(self) -> None:
        """End it."""
        os.close(self._mouth)
        self._wait()

    def _wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def main() -> None:
    """Serve the socket that was inherited."""
    descriptor, library, data = sys.argv[1:]
    # The daemon is told to end, and ends us when it needs us no more.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    channel = Channel(int(descriptor))
    try:
        loaded = EspeakLibrary(library, data)
    except EspeakFailure as failure:
        channel.send(Reply.FAILED + str(failure).encode())
        return
    channel.send(Reply.TOLD)
    _Worker(channel, loaded).run()


if __name__ == "__main__":
    main()
