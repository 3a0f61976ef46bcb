"""A study of the paper's rows in which a test plants the effects: real records and files, of models nobody trained.

What conf/claims/paper.yaml is about is published, and nothing else. The planted scores are the paper's own averages
(tables 2 and 4 to 7), so that every difference has to come out as it does there.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import config, sweep
from orchestrator.command import Study
from orchestrator.document import paper
from orchestrator.document.rows import line
from orchestrator.graph import Node
from stages import artifact
from stages.store import Store

#: As the paper has it, none, or the other way round.
Effect = Literal["paper", "none", "opposite"]

#: Problems of a benchmark, and samples of each.
PROBLEMS, SAMPLES = 10, 10_000

#: What a score, in percent, and another number are mirrored in.
MIDDLE_SCORE, MIDDLE = 20.0, 1.0

#: The control, which the paper does not have: ID, OOD and overall average, in percent.
CONTROL = {"RandomReset+RL": (19.0, 14.0, 16.5)}

#: (diagnosis, or row after RL) -> its numbers with the paper's effects; what is not here is `MIDDLE`.
NUMBERS: Mapping[str, Mapping[str, float]] = {
    "ModSFT-base": {"change_norm": 1.2},
    "OverSFT-base": {
        "change_norm": 1.6,
        "change_largest": 1.5,
        "weight_rms_checkpoint": 1.5,
        "curvature_random_checkpoint": 1.5,
        "entropy_checkpoint": 0.84,  # 0.16 nats below ModSFT, as in table 1
    },
    "OverSFT+RL-OverSFT": {"change_norm": 0.4},
    "ModSFT+RL-ModSFT": {"change_norm": 0.6},
    "Rejuvenation-base": {"entropy_checkpoint": 1.3},
    "Rejuvenation-OverSFT": {"entropy_at_targets_checkpoint": 1.5, "overlap_jaccard": 1.5},
    "OverSFT+RL": {"gradient_norm": 1.5},
}

#: Share of the neurons of k_proj and v_proj of the last layer that are reset, and of all other modules, in percent.
RESET: Mapping[Effect, tuple[float, float]] = {"paper": (60, 10), "none": (20, 20), "opposite": (10, 60)}

MODULES = [
    f"model.layers.{layer}.{block}.{kind}"
    for layer in range(4)
    for block, kinds in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
    for kind in (f"{each}_proj" for each in kinds)
]


def study(store: Path, *overrides: str) -> Study:
    """The rows of tiny_paper with these seeds, named and evaluated as the paper's: one benchmark ID and one OOD."""
    composed = config.compose(["+experiment=tiny_paper", "replicated=null", *overrides, f"store={store}"])
    assert not composed.errors, composed.errors
    for each in [composed, *composed.replicas]:
        sums, words = (each.config["benchmark"][name] for name in ("tiny_sums", "tiny_words"))
        each.config["benchmark"] = {"math500": {**sums, "group": "ID"}, "arc": {**words, "group": "OOD"}}
    store.mkdir(parents=True)
    return Study(*sweep.merge(sweep.read([composed])), Store(store))


def plant(made: Study, effect: Effect) -> None:
    """Publish everything that the study's claims are about, with these effects."""
    experiment, graph, draw = made.experiment, made.graph, random.Random(5)
    published: set[str] = set()
    terms = [term for claim in experiment.claims.values() for part in claim.parts for term in part.terms]
    for row in dict.fromkeys(term.variant for term in terms if term.variant):
        for at, benchmark in enumerate(("math500", "arc")):
            for variant, noise in _noisy(draw, experiment.seeded_variants[row]):
                node = graph.scores[variant, benchmark]
                if node.fingerprint not in published:  # α 0.5 is Fusion, ρ 1 % is Rejuvenation
                    published.add(node.fingerprint)
                    _evaluate(
                        made, node, _mirrored((CONTROL | PUBLISHED)[row][at], MIDDLE_SCORE, effect) + 0.005 * noise
                    )
    for row in dict.fromkeys(term.training for term in terms if term.training):
        for variant, noise in _noisy(draw, experiment.seeded_variants[row]):
            step = {"gradient_norm": _number(row, "gradient_norm", effect) + 0.01 * noise}
            _publish(made, line(graph, variant).nodes[-1], {"training.jsonl": json.dumps(step).encode()})
    for name in dict.fromkeys(term.diagnosis for term in terms if term.diagnosis):
        numbers = {term.number for term in terms if term.diagnosis == name}
        noises = {number: dict(_noisy(draw, experiment.seeded_diagnoses[name])) for number in sorted(numbers)}
        for label in experiment.seeded_diagnoses[name].values():
            summary = {n: _number(name, n, effect) + 0.01 * noise[label] for n, noise in noises.items()}
            _publish(made, graph.diagnoses[label], {}, summary)
    for variant, noise in _noisy(draw, experiment.seeded_variants["Rejuvenation"]):
        repair = line(graph, variant).repair
        assert repair is not None
        _reset(made, repair, *RESET[effect], noise)
    made.store.refresh()


def _published() -> dict[str, tuple[float, float, float]]:
    """Row -> its ID, OOD and overall average in the paper, in percent; the first, where two tables have the row."""
    found: dict[str, tuple[float, float, float]] = {}
    for number in (2, 4, 5, 6, 7):
        at = [list(paper.table(number).head).index(f"{group}Avg.") for group in ("ID ", "OOD ", "")]
        for row in paper.table(number).lines:
            share = row.label.removesuffix("%")
            names = [f"Fusion-{share}+RL"] if number == 5 else row.names
            names = [f"Rejuvenation-{float(share) / 100:g}+RL"] if number == 6 else names
            for name, values in [(each, row.values) for each in names] + [(f"{each}+RL", row.after) for each in names]:
                if values:
                    found.setdefault(name, (values[at[0]], values[at[1]], values[at[2]]))
    return found


PUBLISHED = _published()


def _mirrored(value: float, middle: float, effect: Effect) -> float:
    return {"paper": value, "none": middle, "opposite": 2 * middle - value}[effect]


def _number(place: str, number: str, effect: Effect) -> float:
    return _mirrored(NUMBERS.get(place, {}).get(number, MIDDLE), MIDDLE, effect)


def _noisy(draw: random.Random, seeded: Mapping[int, str]) -> Iterator[tuple[str, float]]:
    """What there is for each seed, with noise that is 0 on average, so that no effect is none."""
    noises = [draw.gauss(0, 1) for _ in seeded]
    mean = sum(noises) / len(noises)
    yield from ((each, noise - mean) for each, noise in zip(seeded.values(), noises, strict=True))


def _evaluate(made: Study, node: Node, percent: float) -> None:
    """Publish an evaluation in which each problem has the same share of correct samples, to one sample."""
    total = round(percent / 100 * PROBLEMS * SAMPLES)
    correct = [total // PROBLEMS + (number < total % PROBLEMS) for number in range(PROBLEMS)]
    columns = {"id": [f"p{n}" for n in range(PROBLEMS)], "samples": [SAMPLES] * PROBLEMS, "correct": correct}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    share = total / PROBLEMS / SAMPLES
    scores = {"pass@1": share, "gap": sum(each > 0 for each in correct) / PROBLEMS - share, "k": SAMPLES}
    _publish(made, node, {"problems.parquet": sink.getvalue().to_pybytes(), "scores.json": json.dumps(scores).encode()})


def _reset(made: Study, node: Node, there: float, elsewhere: float, noise: float) -> None:
    """Publish a rejuvenation that resets these shares, in percent, of the modules of the claim and of the others."""
    late = {name for name in MODULES if ".3." in name and name.endswith(("k_proj", "v_proj"))}
    selected = {name: round(10 * there + 5 * noise) if name in late else round(10 * elsewhere) for name in MODULES}
    modules = {name: {"neurons": 1000, "selected": count} for name, count in selected.items()}
    ratio = sum(selected.values()) / 1000 / len(MODULES)
    content = json.dumps({"reset_ratio": ratio, "modules": modules}).encode()
    _publish(made, node, {"summary.json": content}, {"reset_ratio": ratio})


def _publish(made: Study, node: Node, contents: Mapping[str, bytes], summary: Mapping[str, Any] | None = None) -> None:
    draft = Path(tempfile.mkdtemp(dir=made.store.root, prefix="."))
    for name, content in contents.items():
        (draft / name).write_bytes(content)
    final = made.store.final(node.stage, node.label, node.fingerprint)
    final.parent.mkdir(exist_ok=True)
    about = {"identity": node.identity, "label": node.label, "config": node.config, "inputs": {}}
    artifact.publish(draft, final, {"fingerprint": node.fingerprint, **about, "summary": dict(summary or {})})
