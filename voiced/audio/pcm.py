"""From an engine's chunks to samples that are fit to be joined and encoded.

Each stage has `push(samples)` and `flush()`, keeps what it needs of the past, and gives the same
samples however its input was cut into chunks. All are cheap enough for the event loop: 10 s of
audio cost about 7 ms through the whole chain, and chunks are far shorter.
"""

from __future__ import annotations

from typing import Protocol

import av
import numpy as np
from av.filter import Graph

from voiced.speech import Float32, Int16

_SILENCE = 0.0018  # -55 dBFS: below the softest fricative, above dither and engine noise
_LEAD_MS = 10  # kept before the first audible sample
_TAIL_MS = 30  # kept after the last one, where reverberation and breath are
_LONGEST_MS = 2000  # of silence at an end is trimmed; more was meant
_FADE_MS = 5  # long enough that no edge clicks, too short to be heard as a fade
_EMPTY = np.zeros(0, np.float32)


def to_int16(samples: Float32) -> Int16:
    """Scale +-1.0 to 16 bits; what is beyond is clipped and NaN is silence."""
    scaled = np.nan_to_num(samples * np.float32(32768), nan=0.0, posinf=32767, neginf=-32768)
    clipped: Int16 = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    return clipped


def silence(milliseconds: float, rate: int) -> Int16:
    """Return so much silence at `rate` Hz."""
    return np.zeros(round(milliseconds * rate / 1000), np.int16)


class _Stage(Protocol):
    def push(self, samples: Float32) -> Float32: ...
    def flush(self) -> Float32: ...
    def place(self, sample: float) -> float: ...


class AudioNormalizer:
    """One segment's chunks (float32 at the voice's rate) to int16 at the speech's rate.

    Silence at both ends is trimmed and the edges faded, so that segments join without a click;
    what the engine could not do of the speed is done by time-stretch; the rate is converted.
    Call `push` for each chunk and `flush` once. A conversion of the rate keeps the length exactly.
    """

    def __init__(self, *, source_rate: int, target_rate: int, tempo: float = 1.0) -> None:
        self._stages: list[_Stage] = [_Trim(source_rate)]
        if tempo != 1.0:
            # Trimmed again: a stretch blurs the edges, and ends in silence of its own.
            self._stages += [_Stretch(source_rate, tempo), _Trim(source_rate)]
        if source_rate != target_rate:
            self._stages.append(_Resample(source_rate, target_rate))

    def push(self, samples: Float32) -> Int16:
        """Take the engine's next samples and return those that are ready."""
        for stage in self._stages:
            samples = stage.push(samples)
        return to_int16(samples)

    def flush(self) -> Int16:
        """Return what was held back; the segment is over."""
        rest = _EMPTY
        for stage in self._stages:
            rest = np.concatenate((stage.push(rest), stage.flush()))
        return to_int16(rest)

    def place(self, sample: int) -> int:
        """Say which sample of the output an engine's sample has become.

        Known once `push` or `flush` returned any; what was trimmed away is at the nearest end.
        """
        placed: float = sample
        for stage in self._stages:
            placed = stage.place(placed)
        return round(placed)


class _Trim:
    """Drops the silence at both ends and fades the edges."""

    def __init__(self, rate: int) -> None:
        self._lead = rate * _LEAD_MS // 1000
        self._tail = rate * _TAIL_MS // 1000
        self._longest = rate * _LONGEST_MS // 1000
        self._fade = np.linspace(0.0, 1.0, max(1, rate * _FADE_MS // 1000), dtype=np.float32)
        self._held = _EMPTY
        self._begun = False
        self._dropped = 0  # samples before the first that is kept

    def push(self, samples: Float32) -> Float32:
        held = np.concatenate((self._held, samples)) if self._held.size else samples
        audible = np.flatnonzero(np.abs(held) > _SILENCE)
        if not self._begun:
            if not audible.size:
                self._held = held[-self._lead :]
                self._dropped += held.size - self._held.size
                return _EMPTY
            silent = max(0, int(audible[0]) - self._lead)
            self._dropped += silent
            held = held[silent:].copy()
            audible -= audible[0] - min(audible[0], self._lead)
            edge = min(self._fade.size, held.size)
            held[:edge] *= self._fade[:edge]
            self._begun = True
        # The last audible samples stay here too: the fade-out may fall on them.
        # So does the silence after them, up to the longest that is an end and no pause.
        ready = max(0, int(audible[-1]) + 1 - self._fade.size) if audible.size else 0
        ready = max(ready, held.size - self._longest)
        self._held = held[ready:]
        return held[:ready]

    def flush(self) -> Float32:
        if not self._begun:
            return _EMPTY
        audible = np.flatnonzero(np.abs(self._held) > _SILENCE)
        last = int(audible[-1]) + 1 if audible.size else 0
        rest = self._held[: last + self._tail].copy()
        edge = min(self._fade.size, rest.size)
        if edge:
            rest[-edge:] *= self._fade[:edge][::-1]
        self._held = _EMPTY
        return rest

    def place(self, sample: float) -> float:
        return max(0.0, sample - self._dropped)


class _Stretch:
    """Changes the tempo and keeps the pitch, by FFmpeg's `atempo`."""

    # Fed in blocks of one size: what atempo gives depends on how it is fed, and it fails with
    # ENOMEM on frames of a few samples.
    _BLOCK = 512

    def __init__(self, rate: int, tempo: float) -> None:
        self._rate = rate
        self._tempo = tempo
        self._held = _EMPTY
        tempos = [tempo]
        while tempos[-1] < 0.5:  # atempo's own lower bound; a chain of them goes further
            tempos[-1:] = [0.5, tempos[-1] / 0.5]
        self._chain = _Chain(rate, [("atempo", f"{tempo:.6f}") for tempo in tempos])

    def push(self, samples: Float32) -> Float32:
        held = np.concatenate((self._held, samples))
        whole = held.size - held.size % self._BLOCK
        self._held = held[whole:]
        for at in range(0, whole, self._BLOCK):
            self._chain.push(held[at : at + self._BLOCK])
        return self._chain.pull()

    def flush(self) -> Float32:
        # atempo drops its last, unfilled window: let that be silence.
        blocks = -(-self._rate // 4 // self._BLOCK)
        silence = np.zeros(blocks * self._BLOCK - self._held.size, np.float32)
        return np.concatenate((self.push(silence), self._chain.end()))

    def place(self, sample: float) -> float:
        return sample / self._tempo


class _Resample:
    """Changes the rate, by FFmpeg's `aresample`.

    It computes with doubles: with floats a sample in ten thousand is one less or more on arm64.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._ratio = target_rate / source_rate
        self._taken = 0
        self._given = 0
        self._chain = _Chain(source_rate, [("aresample", f"{target_rate}:tsf=dblp")])

    def push(self, samples: Float32) -> Float32:
        self._taken += samples.size
        if samples.size:
            self._chain.push(samples)
        resampled = self._chain.pull()
        self._given += resampled.size
        return resampled

    def flush(self) -> Float32:
        rest = self._chain.end() if self._taken else _EMPTY
        return _exactly(rest, round(self._taken * self._ratio) - self._given)

    def place(self, sample: float) -> float:
        return sample * self._ratio


class _Chain:
    """FFmpeg's audio filters in a row: float32 mono in, float32 mono out."""

    def __init__(self, rate: int, filters: list[tuple[str, str]]) -> None:
        self._rate = rate
        self._graph = Graph()
        # By default it starts a thread for each core, which costs more than all that it does.
        self._graph.threads = 1
        last = self._source = self._graph.add_abuffer(sample_rate=rate, format="flt", layout="mono")
        for name, arguments in filters:
            last.link_to(following := self._graph.add(name, arguments))
            last = following
        self._sink = self._graph.add("abuffersink")
        last.link_to(self._sink)
        self._graph.configure()

    def push(self, samples: Float32) -> None:
        planes = np.ascontiguousarray(samples, np.float32)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(planes, format="flt", layout="mono")
        frame.sample_rate = self._rate
        self._source.push(frame)

    def end(self) -> Float32:
        """Return what was held back; nothing may be pushed after it."""
        self._source.push(None)
        return self.pull()

    def pull(self) -> Float32:
        """Return what is ready."""
        out = [_EMPTY]
        while True:
            try:
                frame = self._sink.pull()
            except (av.BlockingIOError, av.EOFError):
                return np.concatenate(out)
            assert isinstance(frame, av.AudioFrame)
            out.append(frame.to_ndarray()[0].copy())


def _exactly(samples: Float32, count: int) -> Float32:
    """Cut or pad with silence: filters round the length, and the tail is silent by then."""
    count = max(0, count)
    return np.concatenate((samples[:count], np.zeros(max(0, count - samples.size), np.float32)))
