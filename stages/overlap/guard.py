"""The contamination of one benchmark by one corpus: read both, look, write what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages import rows
from stages.contamination import Config
from stages.contract import Context, Input, StageError
from stages.overlap import corpus as corpora
from stages.overlap import ngrams
from stages.overlap.corpus import Corpus
from stages.overlap.words import words
from stages.progress import Progress

MATCHES = pa.schema(
    {"problem": pa.int64(), "id": pa.string(), "ngram": pa.string(), "row": pa.int64(), "whole": pa.bool_()}
)

#: What a progress counts: to read the corpus is the one half, to look into it the other.
_PARTS = 2


@dataclass(frozen=True, kw_only=True)
class Match:
    """A contaminated problem, as a row of `matches.parquet`."""

    problem: int
    id: str
    ngram: str
    row: int
    whole: bool


def run(config: Config, context: Context) -> dict[str, Any]:
    """Look for a benchmark in a corpus and write; returns the summary."""
    benchmark, source = context.inputs["benchmark"], context.inputs["corpus"]
    found = rows.load(benchmark)
    questions = _questions(found, benchmark)
    corpus: Corpus = context.share(("words", source.fingerprint), lambda: _read(source, context.progress))
    ids = [str(row.get("id", number)) for number, row in enumerate(found)]
    matches = search(questions, ids, config.ngram, corpus, context.progress)
    summary = _summary(questions, matches, config.ngram)
    table = pa.Table.from_pylist([asdict(match) for match in matches], schema=MATCHES)
    pq.write_table(table, context.output / "matches.parquet")
    (context.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    context.progress.update(_PARTS, _PARTS)
    return summary


def search(questions: Sequence[str], ids: Sequence[str], n: int, corpus: Corpus, progress: Progress) -> list[Match]:
    """The contaminated problems among those with these questions, in their order."""
    said = [words(question) for question in questions]
    own = [list(ngrams.ngrams(each, n, corpus.vocabulary)) for each in said]
    places = ngrams.positions(
        (ngram for every in own for _, ngram in every),
        n,
        corpus,
        lambda count: progress.update(1, _PARTS, note="looking for n-grams", found=count),
    )
    matches = []
    for number, question in enumerate(questions):
        start, place = next(((start, places[ngram]) for start, ngram in own[number] if ngram in places), (0, None))
        whole = corpus.row_of_question(question)
        row = corpus.row(place) if whole is None and place is not None else whole
        if row is not None:
            text = " ".join(said[number][start : start + n])
            matches.append(Match(problem=number, id=ids[number], ngram=text, row=row, whole=whole is not None))
    return matches


def _read(source: Input, progress: Progress) -> Corpus:
    """The words of the corpus. How many rows it has is not known before its end."""
    return corpora.encode(
        rows.stream(source), lambda count: progress.update(0, _PARTS, note="reading the corpus", rows=count)
    )


def _questions(found: Sequence[Mapping[str, Any]], source: Input) -> list[str]:
    """Each problem's question; of its prompt where the benchmark has no question."""
    name = next((name for name in ("question", "prompt") if name in found[0]), None)
    if name is None:
        raise StageError(f"{source.path or source.hub}: fields has {', '.join(found[0])}; a benchmark has a question")
    return [row[name] for row in found]


def _summary(questions: Sequence[str], matches: Sequence[Match], n: int) -> dict[str, Any]:
    short = [len(words(question)) < n for question in questions]
    return {
        "problems": len(questions),
        "checked": len(questions) - sum(short),
        "contaminated": len(matches),
        "share": len(matches) / len(questions),
        "short": sum(short),
        "short_equal": sum(short[match.problem] for match in matches),
    }
