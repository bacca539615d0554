"""`Framer`: the samples of one speech, encoded and counted into frames."""

from __future__ import annotations

from collections.abc import Iterator

from voiced.audio.writer import Encoded, StreamingAudioWriter
from voiced.speech import AudioFormat, AudioFrame, Int16

_LONGEST_S = 0.1  # of audio in a frame, so that one fits into the smallest window


class Framer:
    """Gives frames as soon as the codec does, each for at most 0.13 s of audio."""

    def __init__(self, response_format: AudioFormat, sample_rate: int) -> None:
        self._writer = StreamingAudioWriter(response_format, sample_rate)
        self._longest = round(_LONGEST_S * sample_rate)
        self._segment = 0
        self._framed = 0  # samples that the frames given so far stand for
        self._is_first = True
        self._is_first_of_segment = False
        self.position = 0  # samples written so far

    def begin_segment(self, index: int) -> None:
        """Let the next samples be those of a new segment."""
        self._segment = index
        self._is_first_of_segment = True

    def frames(self, samples: Int16) -> Iterator[AudioFrame]:
        """Take samples; yield a frame wherever the codec has bytes ready."""
        for start in range(0, samples.size, self._longest):
            block = samples[start : start + self._longest]
            self.position += block.size
            for encoded in self._grouped(self._writer.write(block)):
                yield self._frame(encoded.data, encoded.samples)

    def finish(self) -> Iterator[AudioFrame]:
        """Yield the rest; the last frame says so, and stands for all samples that are left."""
        *others, last = self._grouped(self._writer.close()) or [Encoded(b"", 0)]
        for encoded in others:
            yield self._frame(encoded.data, encoded.samples)
        yield self._frame(last.data, self.position - self._framed, is_last=True)

    def _grouped(self, parts: list[Encoded]) -> list[Encoded]:
        """Join what is short: packets of a codec have 12 to 128 ms."""
        groups: list[Encoded] = []
        for part in parts:
            if groups and groups[-1].samples + part.samples <= self._longest:
                group = groups.pop()
                groups.append(Encoded(group.data + part.data, group.samples + part.samples))
            else:
                groups.append(part)
        return groups

    def _frame(self, data: bytes, samples: int, *, is_last: bool = False) -> AudioFrame:
        # A codec's padding stands for no sample of ours.
        samples = min(samples, self.position - self._framed)
        frame = AudioFrame(
            data=data,
            segment=self._segment,
            position=self._framed,
            samples=samples,
            first=self._is_first,
            first_of_segment=self._is_first_of_segment,
            last=is_last,
        )
        self._framed += samples
        self._is_first = self._is_first_of_segment = False
        return frame
