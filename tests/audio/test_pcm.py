from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiced.audio.pcm import AudioNormalizer, silence, to_int16
from voiced.speech import Float32, Int16

SOURCE = 22050


def tone(seconds: float, rate: int = SOURCE, level: float = 0.3) -> Float32:
    times = np.arange(round(seconds * rate)) / rate
    return (np.sin(times * 2 * np.pi * 220) * level).astype(np.float32)


def normalize(
    samples: Float32, cuts: list[int], *, target: int = 24000, tempo: float = 1.0
) -> Int16:
    normalizer = AudioNormalizer(source_rate=SOURCE, target_rate=target, tempo=tempo)
    parts = [normalizer.push(part) for part in np.split(samples, cuts)]
    return np.concatenate([*parts, normalizer.flush()])


def test_what_is_louder_than_full_scale_is_clipped_and_nan_is_silence() -> None:
    samples = np.array([2.0, -2.0, np.nan, np.inf, -np.inf, 0.5], np.float32)
    assert to_int16(samples).tolist() == [32767, -32768, 0, 32767, -32768, 16384]


def test_16_bit_samples_pass_unchanged() -> None:
    given_samples = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(to_int16((given_samples / 32768).astype(np.float32)), given_samples)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, SOURCE), max_size=20).map(sorted),
    target=st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000]),
    tempo=st.sampled_from([0.25, 0.7, 1.0, 1.6, 4.0]),
)
def test_chunks_may_be_cut_anywhere(cuts: list[int], target: int, tempo: float) -> None:
    samples = np.concatenate((np.zeros(2000, np.float32), tone(0.8), np.zeros(2000, np.float32)))
    whole = normalize(samples, [], target=target, tempo=tempo)
    assert np.array_equal(whole, normalize(samples, cuts, target=target, tempo=tempo))


def test_silence_at_both_ends_goes_and_a_margin_stays() -> None:
    quiet = np.zeros(SOURCE, np.float32)
    trimmed = normalize(np.concatenate((quiet, tone(0.5), quiet)), [])
    assert 0.5 * 24000 < trimmed.size < 0.56 * 24000


def test_silence_between_words_stays() -> None:
    quiet = np.zeros(SOURCE, np.float32)
    trimmed = normalize(np.concatenate((tone(0.2), quiet, tone(0.2))), [3000, 9000, 20000])
    assert trimmed.size >= 1.4 * 24000


def test_a_long_silence_is_passed_on_while_it_lasts() -> None:
    """Neither is it held back for ever, nor looked through again for every chunk."""
    normalizer = AudioNormalizer(source_rate=SOURCE, target_rate=SOURCE)
    normalizer.push(tone(0.5))
    given_s = [normalizer.push(np.zeros(SOURCE, np.float32)).size / SOURCE for _ in range(60)]
    assert sum(given_s) >= 57
    assert normalizer.flush().size <= 2 * SOURCE


def test_silence_alone_gives_nothing() -> None:
    assert normalize(np.zeros(SOURCE, np.float32), [100, 5000]).size == 0


@pytest.mark.parametrize("tempo", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_a_sound_that_begins_and_ends_abruptly_does_not_click(tempo: float) -> None:
    # A cosine begins at its full level: without fades the first step would be 9830.
    times = np.arange(SOURCE) / SOURCE
    abrupt = (np.cos(times * 2 * np.pi * 220) * 0.3).astype(np.float32)
    edges = normalize(abrupt, [], tempo=tempo).astype(int)
    assert abs(edges[0]) < 400
    assert abs(edges[-1]) < 400
    assert np.abs(np.diff(edges)).max() < 1500  # the tone's own steepest step is 566


@pytest.mark.parametrize("tempo", [0.25, 0.5, 0.8, 1.3, 4.0])
def test_a_stretch_changes_the_length_and_not_the_pitch(tempo: float) -> None:
    stretched = normalize(tone(2.0), [], tempo=tempo)
    # Longer by up to the silent margins, and one window of the stretch.
    assert stretched.size / 24000 == pytest.approx(2.0 / tempo, rel=0.03, abs=0.06)
    middle = stretched[stretched.size // 4 : 3 * stretched.size // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    loudest = np.argmax(spectrum) * 24000 / middle.size
    assert loudest == pytest.approx(220, abs=6)


@pytest.mark.parametrize("target", [8000, 16000, 44100, 48000])
def test_the_length_after_resampling_is_exact(target: int) -> None:
    loud = tone(1.0)  # nothing to trim but the last near-zero samples
    at_source = normalize(loud, [], target=SOURCE).size
    assert normalize(loud, [777], target=target).size == round(at_source * target / SOURCE)


def test_silence_has_the_length_asked_for() -> None:
    assert silence(250, 24000).size == 6000
    assert not silence(250, 24000).any()


@pytest.mark.parametrize("target", [8000, 22050, 24000, 48000])
@pytest.mark.parametrize("tempo", [0.4, 1.0, 2.5])
def test_a_sample_can_be_found_again(target: int, tempo: float) -> None:
    """Silence, a tone, silence, and a louder tone from half a second after the first on."""
    quiet, begin = np.zeros(SOURCE // 2, np.float32), SOURCE // 2 + SOURCE
    samples = np.concatenate((quiet, tone(0.5, level=0.1), quiet, tone(0.5, level=0.8)))
    normalizer = AudioNormalizer(source_rate=SOURCE, target_rate=target, tempo=tempo)
    parts = [normalizer.push(part) for part in np.split(samples, range(700, samples.size, 700))]
    found = np.concatenate([*parts, normalizer.flush()])
    heard = int(np.flatnonzero(np.abs(found) > 10_000)[0])
    # A stretch shifts what it overlaps, by up to a window of it.
    spare_s = 0.005 if tempo == 1.0 else 0.07
    assert normalizer.place(begin) == pytest.approx(heard, abs=target * spare_s)
    assert normalizer.place(0) == 0
