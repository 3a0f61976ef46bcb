"""Where n-grams stand, against a search that looks everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.overlap import ngrams
from stages.overlap.corpus import Corpus, encode

LETTERS = st.lists(st.sampled_from("abc"), max_size=12)
TEXTS = st.lists(LETTERS.map(" ".join), min_size=1, max_size=5)


def corpus_of(*texts: str) -> Corpus:
    return encode({"completion": text} for text in texts)


def everywhere(question: list[str], n: int, texts: list[str]) -> dict[int, int]:
    """Start of an n-gram of the question -> the first text that has it."""
    found = {}
    for start in range(len(question) - n + 1):
        wanted = f" {' '.join(question[start : start + n])} "
        rows = [row for row, text in enumerate(texts) if wanted in f" {text} "]
        if rows:
            found[start] = rows[0]
    return found


@given(LETTERS, TEXTS, st.integers(1, 4))
def test_every_ngram_is_found_in_the_first_text_that_has_it(question: list[str], texts: list[str], n: int) -> None:
    corpus = corpus_of(*texts)
    own = list(ngrams.ngrams(question, n, corpus.vocabulary))
    places = ngrams.positions((ngram for _, ngram in own), n, corpus)
    found = {start: corpus.row(places[ngram]) for start, ngram in own if ngram in places}
    assert found == everywhere(question, n, texts)


@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_an_ngram_across_the_border_of_two_blocks_is_found(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "BLOCK", block)
    corpus = corpus_of("a b c d", "e f g h")
    own = list(ngrams.ngrams(["b", "c", "d"], 3, corpus.vocabulary))
    assert ngrams.positions((ngram for _, ngram in own), 3, corpus) == {own[0][1]: 1}


def test_ngrams_that_share_a_place_in_the_filter_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "_places", lambda numbers, n: np.zeros(numbers.shape[-1] - n + 1, dtype=np.int64))
    corpus = corpus_of("a b c a c b")
    own = list(ngrams.ngrams(["c", "b", "a", "b"], 1, corpus.vocabulary))
    assert len(ngrams.positions({ngram for _, ngram in own}, 1, corpus)) == 3


def test_a_word_that_the_corpus_lacks_is_in_no_ngram() -> None:
    corpus = corpus_of("a b c d")
    question = ["a", "b", "c", "x", "b", "c", "d"]
    assert [start for start, _ in ngrams.ngrams(question, 3, corpus.vocabulary)] == [0, 4]
