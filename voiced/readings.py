"""What the parts of a daemon count and measure, for the metrics."""

from __future__ import annotations

from voiced.metrics import Reading
from voiced.request import BackendState
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.http import HttpDoor
from voiced.transports.ws import WebSocketDoor
from voiced.transports.wyoming import WyomingDoor


def readings(
    websocket: WebSocketDoor,
    http: HttpDoor,
    wyoming: WyomingDoor,
    manager: TTSBackendManager,
    lane: Lane,
) -> list[Reading]:
    """Return all of them; each is read when the metrics are."""
    phrases = manager.phrases
    return [
        Reading(
            "voiced_sessions",
            "Clients that are connected; by HTTP, requests being spoken",
            lambda: {
                "websocket": websocket.sessions,
                "http": http.speeches,
                "wyoming": wyoming.sessions,
            },
            label="door",
        ),
        Reading("voiced_speaking", "Speeches being spoken", lambda: manager.speaking),
        Reading(
            "voiced_backend_ready",
            "1 for a backend that could speak if asked now",
            lambda: {
                name: state is not BackendState.UNAVAILABLE
                for name, state in manager.states().items()
            },
            label="backend",
        ),
        Reading(
            "voiced_real_time_factor",
            "Seconds of work for a second of audio, lately, of local engines",
            manager.real_time_factors,
            label="backend",
        ),
        Reading("voiced_lane_queued", "Segments that wait for an engine", lambda: lane.queued),
        Reading(
            "voiced_lane_preemptions",
            "Segments stopped for a more urgent one",
            lambda: lane.preemptions,
            kind="counter",
        ),
        Reading(
            "voiced_underruns",
            "Times that a client with a window had played all it was sent, with more to come",
            lambda: websocket.underruns,
            kind="counter",
        ),
        Reading(
            "voiced_cache_phrases",
            "Phrases: found, made, or listened to while they were made for another one",
            lambda: {"hit": phrases.hits, "miss": phrases.misses, "join": phrases.joins},
            label="result",
            kind="counter",
        ),
        Reading("voiced_cache_bytes", "Phrases in memory", lambda: phrases.size_bytes),
    ]
