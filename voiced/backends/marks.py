"""Which words of a text a model's phonemes are, and so when each is heard.

Phonemes come in groups with spaces between, mostly one for each word. But "19.5" is said in three,
and espeak runs some words together ("had been"): then each word gets the groups that have about as
many phonemes as it should.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from voiced.reading.phonemes import count_phonemes
from voiced.reading.words import words
from voiced.speech import WordMark

_GROUP = re.compile(r"\S*\w\S*")  # punctuation that stands alone is no word
_MOST_GROUPS = 12  # that a word is said in: "$1,284.50"
_MOST_WORDS = 3  # that are said in one group

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Step:
    """So many words are said in so many groups; one of both is 1."""

    words: int
    groups: int


_STEPS = (
    *(_Step(1, count) for count in range(1, _MOST_GROUPS + 1)),
    *(_Step(count, 1) for count in range(2, _MOST_WORDS + 1)),
)


def mark_words(text: str, phonemes: str, edges: Sequence[int]) -> tuple[WordMark, ...]:
    """Say when each word of a text begins.

    Args:
        text: As it was turned into phonemes.
        phonemes: Those that the model was given, a token for each.
        edges: The sample at which each of them begins; `len(phonemes)` or more of them.
    """
    found = words(text)
    groups = [group.span() for group in _GROUP.finditer(phonemes)]
    if not found or not groups:
        return ()
    marks = []
    word, group = 0, 0
    for step in _align([count_phonemes(text, *span) for span in found], groups):
        begin, end = groups[group][0], groups[group + step.groups - 1][1]
        for index in range(step.words):
            start, stop = found[word + index]
            at = begin + (end - begin) * index // step.words
            marks.append(WordMark(start, stop, int(edges[at])))
        word += step.words
        group += step.groups
    return tuple(marks)


def _align(sizes: list[int], groups: list[Span]) -> list[_Step]:
    """Give the words, of such sizes, to groups, all of them and in order, as well as they fit."""
    if len(sizes) == len(groups):
        return [_Step(1, 1)] * len(sizes)
    lengths = [end - start for start, end in groups]
    scale = sum(lengths) / sum(sizes)
    # The least cost of the words and groups that are left, from the last ones on.
    costs = {(len(sizes), len(lengths)): 0.0}
    best: dict[Span, _Step] = {}
    for word in range(len(sizes), -1, -1):
        for group in range(len(lengths), -1, -1):
            for step in _STEPS:
                left = costs.get((word + step.words, group + step.groups), inf)
                if left == inf:
                    continue
                expected = scale * sum(sizes[word : word + step.words])
                said = sum(lengths[group : group + step.groups])
                cost = left + (expected - said) ** 2 / (expected + said)
                if cost < costs.get((word, group), inf):
                    costs[word, group], best[word, group] = cost, step
    steps = []
    at = (0, 0)
    while at in best:
        steps.append(best[at])
        at = (at[0] + best[at].words, at[1] + best[at].groups)
    return steps  # none where there are many times more groups than words
