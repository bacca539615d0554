"""A session without a socket, and a client that talks to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from voiced.errors import VoiceNotFound
from voiced.protocol.actions import Action
from voiced.protocol.greeting import Greeting, SessionLimits
from voiced.protocol.session import Session
from voiced.request import BackendState, ModelInfo, Plan, SpeechRequest
from voiced.speech import AudioFormat, AudioFrame, SpeechStart

TOKEN = "right"
RATE = 24000


class Planner:
    """Plans everything but the voice `nobody`."""

    def plan(
        self,
        request: SpeechRequest,
        *,
        default_format: AudioFormat,
        sample_rate: int,
        wants_words: bool = False,
    ) -> Plan:
        if request.voice == "nobody":
            raise VoiceNotFound("There is no voice 'nobody'.", param="voice")
        response_format = request.response_format or default_format
        return Plan(request, request.text(), "auto", ("fake",), response_format, sample_rate)

    def models(self) -> list[ModelInfo]:
        return [
            ModelInfo("a", "fake", BackendState.READY, local=True, cure=None, options={}),
            ModelInfo("b", "b", BackendState.UNAVAILABLE, local=False, cure="Do it.", options={}),
        ]


class Client:
    """Talks to a session and keeps what it says."""

    def __init__(self, *, is_authenticated: bool = True, **limits: int) -> None:
        self.time = 100.0
        self.session = Session(
            Greeting("0.1.0", "7f3a91c2", "ab" * 16, "kitchen", {}, SessionLimits(**limits)),
            planner=Planner(),
            is_token_right=lambda token: token == TOKEN,
            now=lambda: self.time,
        )
        self.session.open(is_authenticated=is_authenticated)
        self.greeting = self.texts()

    def send(self, *commands: dict[str, Any]) -> list[Action]:
        return self.receive(json.dumps(commands[0] if len(commands) == 1 else list(commands)))

    def receive(self, message: str | bytes) -> list[Action]:
        return [action for actions in self.session.receive(message) for action in actions]

    def speak(self, command_id: int, **fields: Any) -> list[Action]:
        return self.send({"id": command_id, "type": "speak", "input": "One. Two.", **fields})

    def received(self) -> Iterator[str | bytes]:
        while (message := self.session.pop()) is not None:
            yield message

    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.received() if isinstance(message, str)]


def frame(samples: int, position: int = 0, **flags: bool) -> AudioFrame:
    return AudioFrame(b"\x01\x00" * samples, 0, position, samples, **flags)


def start() -> SpeechStart:
    return SpeechStart("auto", "fake", "one", AudioFormat.PCM, RATE)
