"""N-grams: where in a corpus the n-grams of some questions stand.

An n-gram is the bytes of its words' numbers, so equal ones are equal and no others. Most of the corpus is passed over
by a filter: a table of bits, one of which every n-gram that is looked for has set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from stages.overlap.corpus import NUMBER, Corpus

#: Places of a corpus that are filtered together.
BLOCK = 1 << 20

#: Bits of a hash that choose a place in the filter, which then has 16 MB.
_BITS = 24

#: Odd numbers without a pattern: one spreads a word's number over 64 bits, the powers of the other tell places apart.
_SPREAD, _PLACE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def ngrams(words: Sequence[str], n: int, vocabulary: Mapping[str, int]) -> Iterator[tuple[int, bytes]]:
    """Where in `words` each n-gram starts that has no other words than the vocabulary's, and the n-gram."""
    numbers = np.array([vocabulary.get(word, -1) for word in words], dtype=NUMBER)
    for start in range(len(words) - n + 1):
        if (numbers[start : start + n] > 0).all():
            yield start, numbers[start : start + n].tobytes()


def positions(
    wanted: Iterable[bytes], n: int, corpus: Corpus, tell: Callable[[int], None] = lambda found: None
) -> dict[bytes, int]:
    """N-gram -> where in the corpus it stands first, if it does; `tell` is told how many have been found so far."""
    missing, found = set(wanted), dict[bytes, int]()
    bits = _filter(missing, n)
    for start in range(0, len(corpus.numbers) - n + 1, BLOCK):
        block = corpus.numbers[start : start + BLOCK + n - 1]
        for place in np.flatnonzero(bits[_places(block, n)]):
            ngram = block[place : place + n].tobytes()
            if ngram in missing:
                missing.remove(ngram)
                found[ngram] = start + int(place)
        tell(len(found))
    return found


def _filter(wanted: Iterable[bytes], n: int) -> np.ndarray:
    bits = np.zeros(1 << _BITS, dtype=bool)
    numbers = np.frombuffer(b"".join(wanted), dtype=NUMBER).reshape(-1, n)
    for first in range(0, len(numbers), BLOCK):
        bits[_places(numbers[first : first + BLOCK].T, n)] = True
    return bits


def _places(numbers: np.ndarray, n: int) -> np.ndarray:
    """The place in the filter of every n-gram: one for each run of n in `numbers`, or for each column of n rows."""
    spread = numbers.astype(np.uint64) * _SPREAD
    hashes = np.zeros((), dtype=np.uint64)
    for place in range(n):
        hashes = hashes * _PLACE + (spread[place] if spread.ndim == 2 else spread[place : len(spread) - n + 1 + place])
    return hashes >> np.uint64(64 - _BITS)
