"""A toy study whose evaluations a test publishes: real records and tables, of answers that nobody generated."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import sweep
from orchestrator.command import Study
from orchestrator.config import Composed
from orchestrator.graph import Node
from stages import artifact
from stages.evaluation import files, statistics
from stages.evaluation.statistics import Sample
from stages.problems import Problem
from stages.store import Store
from tests.conftest import composed, study

#: Variant -> its chain.
VARIANTS: dict[str, list[Any]] = {
    "Mod+RL": [{"toy_train": {"epochs": 2}}],
    "Over+RL": [{"toy_train": {"epochs": 4}}],
    "Repaired+RL": [{"toy_train": {"epochs": 4}}, {"toy_train": {"epochs": 1, "rate": 0.5}}],
}

#: Benchmark -> its group, and its samples for each problem.
GROUPS = {"sums": "ID", "chains": "ID", "words": "OOD", "choice": "OOD", "aime": "extra"}
SAMPLES = {"sums": 4, "chains": 8, "words": 4, "choice": 1, "aime": 2}

DIFFERENCES = {
    "Mod+RL-Over+RL": {"variant": "Mod+RL", "reference": "Over+RL"},
    "Repaired+RL-Over+RL": {"variant": "Repaired+RL", "reference": "Over+RL"},
}

_EVALUATE = {
    "kind": "math",
    "template": "{{ question }}",
    "temperature": 0.6,
    "top_p": 1.0,
    "max_new_tokens": 64,
    "stop": [],
    "seed": 0,
    "engine": "transformers",
    "dtype": "float32",
    "problems": None,
}


def samples(k: int, *, seed: int, problems: int = 12) -> dict[str, list[Sample]]:
    """Problem -> its samples, drawn at random."""
    draw = random.Random(seed)
    return {f"p{number}": [_sample(draw, number) for _ in range(k)] for number in range(problems)}


def graded(shares: Mapping[str, float], k: int = 4) -> dict[str, list[Sample]]:
    """Problem -> samples of which this share is correct."""
    return {
        id: [
            Sample(extracted="1" if number < share * k else "2", correct=number < share * k, truncated=False, tokens=9)
            for number in range(k)
        ]
        for id, share in shares.items()
    }


class Published:
    """The study, and what has been published of it."""

    def __init__(self, store: Path, seeds: Sequence[int] = (), **outside: Any) -> None:
        """A study with these keys of its config; with `seeds`, each has its own training and evaluations."""
        store.mkdir(parents=True)
        benchmarks = {
            name: {"group": GROUPS[name], "data": _data(store.parent / f"{name}.jsonl"), "evaluate": {"k": k}}
            for name, k in SAMPLES.items()
        }
        given = {"benchmark": benchmarks, "evaluate": _EVALUATE, "differences": DIFFERENCES, **outside}
        if seeds:
            plain = composed(store, VARIANTS, outside={**given, "seeds": list(seeds)})
            members = sweep.read([Composed(plain, {}, [], replicas=tuple(_replica(plain, seed) for seed in seeds))])
            self.experiment, self.graph = sweep.merge(members)
            self.store = Store(store)
        else:
            self.experiment, self.graph, self.store = study(store, VARIANTS, outside=given)
        self.study = Study(self.experiment, self.graph, self.store)

    def k(self, benchmark: str) -> int:
        return SAMPLES[benchmark]

    def evaluate(self, variant: str, benchmark: str, graded: Mapping[str, Sequence[Sample]]) -> None:
        """Publish an evaluation of these samples, by the id of their problem."""
        problems = [Problem(id=id, gold="1", fields={"question": id}) for id in graded]
        draft = self._draft()
        files.write_problems(draft / "problems.parquet", problems, list(graded.values()))
        (draft / "scores.json").write_text(json.dumps(statistics.scores(list(graded.values()))))
        self._publish(self.graph.scores[variant, benchmark], draft)

    def publish(self, variant: str, benchmark: str, texts: Mapping[str, str]) -> None:
        """Publish an evaluation of these files, in place of one that may be there."""
        draft = self._draft()
        for name, text in texts.items():
            (draft / name).write_text(text)
        self._publish(self.graph.scores[variant, benchmark], draft)

    def trained(self, variant: str, curve: Sequence[Mapping[str, float]]) -> None:
        """Publish the training at the end of a chain, with this curve."""
        node = self.graph.variants[variant]["checkpoint"]
        assert isinstance(node, Node)
        draft = self._draft()
        (draft / "training.jsonl").write_text("".join(json.dumps(step) + "\n" for step in curve))
        self._publish(node, draft)

    def diagnose(self, name: str, numbers: Mapping[int, Mapping[str, float] | None]) -> None:
        """Add a diagnosis of each seed to the study; publish those that have numbers."""
        for seed, summary in numbers.items():
            label = f"{name}@seed={seed}"
            node = Node(stage="diagnose", version=1, config={"of": [name, seed]}, inputs={}, label=label)
            self.graph.diagnoses[label] = node
            self.experiment.seeded_diagnoses.setdefault(name, {})[seed] = label
            if summary is not None:
                self._publish(node, self._draft(), summary)

    def search(self, benchmark: str, kind: str, summary: Mapping[str, Any] | None) -> None:
        """Add the search for a benchmark in data to the graph; publish it if there is a summary."""
        node = Node(stage="contamination", version=1, config={"of": [benchmark, kind]}, inputs={}, label=benchmark)
        self.graph.contamination[benchmark, kind] = node
        if summary is not None:
            draft = self._draft()
            (draft / "summary.json").write_text(json.dumps(summary))
            self._publish(node, draft)

    def scores(self, variant: str, benchmark: str) -> dict[str, float]:
        """What the artifact says."""
        node = self.graph.scores[variant, benchmark]
        folder = self.store.find(node.stage, node.fingerprint)
        assert folder is not None
        found: dict[str, float] = json.loads((folder / "scores.json").read_text())
        return found

    def report(self, name: str) -> Path:
        """A file of the report."""
        return self.store.reports(self.experiment.name) / name

    def _draft(self) -> Path:
        draft = self.store.root / ".draft"
        draft.mkdir()
        return draft

    def _publish(self, node: Node, draft: Path, summary: Mapping[str, float] | None = None) -> None:
        final = self.store.final(node.stage, node.label, node.fingerprint)
        final.parent.mkdir(exist_ok=True)
        if final.exists():
            shutil.rmtree(final)
        record = {
            "fingerprint": node.fingerprint,
            "identity": node.identity,
            "label": node.label,
            "config": node.config,
            "inputs": {},
            "summary": dict(summary or {}),
        }
        artifact.publish(draft, final, record)
        self.store.refresh()


def _replica(plain: Mapping[str, Any], seed: int) -> Composed:
    """What a config composes to with one of its seeds."""
    train, evaluate = {**plain["toy_train"], "rate": seed + 0.5}, {**plain["evaluate"], "seed": seed}
    config = {**plain, "seed": seed, "toy_train": train, "evaluate": evaluate}
    return Composed(config, {}, [], values={"seed": str(seed)})


def _data(file: Path) -> dict[str, Any]:
    """A benchmark's problems: a file of its own, since equal ones would be one node."""
    file.write_text("".join(json.dumps({"question": f"{file.stem} {n}?", "answer": "1"}) + "\n" for n in range(12)))
    return {"path": str(file), "fields": {"question": "{{ question }}", "answer": "{{ answer }}"}}


def _sample(draw: random.Random, problem: int) -> Sample:
    """Answers of a model that solves the later problems more often."""
    correct = draw.random() < problem / 12
    answer = draw.choice(["2", "3", None])
    return Sample(
        extracted="1" if correct else answer,
        correct=None if answer == "3" and draw.random() < 0.05 and not correct else correct,
        truncated=draw.random() < 0.2,
        tokens=draw.randrange(1, 64),
    )
