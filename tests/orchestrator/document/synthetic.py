"""A real experiment whose artifacts a test publishes: real records and files, of models that nobody trained."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import config, results, sweep
from orchestrator.claims import Judged
from orchestrator.command import Study
from orchestrator.document import contents, files
from orchestrator.document.blocks import Document
from orchestrator.graph import Node
from orchestrator.results import Results
from stages import artifact
from stages.evaluation import files as evaluation
from stages.evaluation import statistics
from stages.problems import Problem
from stages.store import Store
from tests.orchestrator.published import graded, samples

#: What a study of every figure needs: the paper's rows but for its sweeps.
EXPERIMENT = "+experiment=tiny_variants"

LAYERS = 3
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MODULES = [
    f"model.layers.{layer}.{'mlp' if kind[0] in 'gud' else 'self_attn'}.{kind}"
    for layer in range(LAYERS)
    for kind in KINDS
]


class Synthetic:
    """An experiment of conf/, and what has been published of it."""

    def __init__(
        self,
        store: Path,
        *overrides: str,
        change: Callable[[dict[str, Any]], None] | None = None,
        experiment: str = EXPERIMENT,
    ) -> None:
        store.mkdir(parents=True)
        self.overrides = [experiment, *overrides, f"store={store}"]
        composed = config.compose(self.overrides)
        assert not composed.errors, composed.errors
        for each in [composed, *composed.replicas] if change is not None else []:
            change(each.config)
        read, graph = sweep.merge(sweep.read([composed]))
        self.store = Store(store)
        self.study = Study(read, graph, self.store)
        self.problems = 12

    @property
    def nodes(self) -> list[Node]:
        return list(self.study.graph.nodes.values())

    def publish(self, nodes: Iterable[Node] | None = None, **record: Any) -> None:
        """Publish these nodes, or all; `record` are fields of their records."""
        for node in self.nodes if nodes is None else nodes:
            draft = self.store.root / ".draft"
            draft.mkdir()
            draw = random.Random(node.fingerprint)
            summary = _MAKERS.get(node.stage, _other)(draft, node, draw, self.problems)
            self._publish(node, draft, {"summary": summary, **RECORD, **record})
        self.store.refresh()

    def folder(self, node: Node) -> Path:
        found = self.store.find(node.stage, node.fingerprint)
        assert found is not None
        return found

    def remove(self, node: Node) -> None:
        shutil.rmtree(self.folder(node))
        self.store.refresh()

    def rewrite(self, node: Node, name: str, content: bytes) -> None:
        """Put another file into an artifact, with a record that is valid for it."""
        folder = self.folder(node)
        (folder / name).write_bytes(content)
        record = json.loads((folder / "record.json").read_text())
        for output in record["outputs"]:
            if output["path"] == name:
                output["size"] = len(content)
        (folder / "record.json").write_text(json.dumps(record))
        self.store.refresh()

    def solve(self, row: str, solved: int) -> None:
        """Publish other evaluations of a row, in which each seed solves so many problems, and one more by half."""
        graph = self.study.graph
        for number, label in enumerate(self.study.experiment.replicas[row]):
            for benchmark in self.study.experiment.benchmarks:
                node = graph.scores[label, benchmark]
                self.remove(node)
                shares = {f"p{at}": float(at < solved) or 0.5 * (at == solved + number) for at in range(self.problems)}
                answers = graded(shares, int(node.config["k"]))
                draft = self.store.root / ".draft"
                draft.mkdir()
                named = [Problem(id=id, gold="1", fields={"question": id}) for id in answers]
                evaluation.write_problems(draft / "problems.parquet", named, list(answers.values()))
                (draft / "scores.json").write_text(json.dumps(statistics.scores(list(answers.values()))))
                self._publish(node, draft, {"summary": {}, **RECORD})
        self.store.refresh()

    def results(self, claims: Iterable[Judged] = ()) -> Results:
        """What `orchestrator.results` reads; with claims, they are judged so."""
        found = results.read(self.study)
        return replace(found, claims=list(claims)) if claims else found

    def document(self, claims: Iterable[Judged] = ()) -> Document:
        return contents.document(self.study, self.results(claims), self.overrides)

    def write(self, folder: Path) -> Document:
        """Make the report and write it into a folder."""
        made = self.document()
        files.write(made, folder)
        return made

    def _publish(self, node: Node, draft: Path, record: dict[str, Any]) -> None:
        final = self.store.final(node.stage, node.label, node.fingerprint)
        final.parent.mkdir(exist_ok=True)
        identity = {"identity": node.identity, "label": node.label, "config": node.config, "inputs": {}}
        artifact.publish(draft, final, {"fingerprint": node.fingerprint, **identity, **record})


#: What every record says of the machine.
RECORD: dict[str, Any] = {
    "attempts": 1,
    "seconds": 90.0,
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "packages": {"torch": "2.13.0"},
    "python": "3.11.7",
    "host": "node1",
    "resources": {"gpus": 2},
    "peak_memory": 3_000_000_000,
    "peak_gpu_memory": 1_500_000_000,
}


def _evaluate(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    graded = samples(int(node.config["k"]), seed=draw.randrange(2**32), problems=problems)
    named = [Problem(id=id, gold="1", fields={"question": id}) for id in graded]
    evaluation.write_problems(draft / "problems.parquet", named, list(graded.values()))
    scores = statistics.scores(list(graded.values()))
    (draft / "scores.json").write_text(json.dumps(scores))
    return scores


def _sft(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    steps = 4 * int(node.config["epochs"])
    rows = [
        {"step": n, "epoch": n / 4, "loss": 2 / n, "entropy": 1 / n, "gradient_norm": draw.random()}
        for n in range(1, steps + 1)
    ]
    _lines(draft / "training.jsonl", rows)
    return {"loss": rows[-1]["loss"], "entropy": rows[-1]["entropy"], "accuracy": 0.5}


def _grpo(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    rows = [
        {
            "rollout": n,
            "step": n,
            "reward": draw.random() * 2 - 1,
            "entropy": 1 / n,
            "kl": n / 100,
            "gradient_norm": draw.random(),
            "distance_start": n / 1000,
            "distance_base": n / 500,
            "completion_length": 20 + draw.random(),
        }
        for n in range(1, 9)
    ]
    _lines(draft / "training.jsonl", rows)
    _lines(draft / "validation.jsonl", [{"rollout": n, "step": n, "pass@1": n / 10} for n in (0, 4, 8)])
    return {"reward": rows[-1]["reward"]}


def _rejuvenate(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    def share() -> dict[str, Any]:
        selected = draw.randrange(1, 50) if node.config["rho"] else 0
        ratios = {"reset_ratio": selected / 100, "parameter_ratio": selected / 200}
        return {"neurons": 100, "selected": selected, **ratios}

    whole = {"alpha": node.config["alpha"], "rho": node.config["rho"], "selection": node.config["neurons"], **share()}
    parts = {
        "modules": {module: share() for module in MODULES},
        "kinds": {kind: share() for kind in KINDS},
        "layers": {str(layer): share() for layer in range(LAYERS)},
    }
    (draft / "summary.json").write_text(json.dumps({**whole, **parts}))
    return whole


def _contamination(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    summary = {"share": 0.25, "contaminated": 3, "problems": 12, "checked": 12}
    (draft / "summary.json").write_text(json.dumps(summary))
    return summary


def _other(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    (draft / "summary.json").write_text("{}")
    return {}


#: Tokens that somebody who means no good could have put into a vocabulary.
TOKENS = ["So", "<script>alert(1)</script>", "$x_1$", "\x1b[31mred", "&amp;", "\\frac{1}{2}", "therefore", " "]


def _diagnose(draft: Path, node: Node, draw: random.Random, problems: int) -> dict[str, Any]:
    tensors = [f"{module}.weight" for module in MODULES]
    count = len(tensors)
    _table(
        draft / "weights.parquet",
        tensor=tensors,
        elements=[64] * count,
        norm=[draw.random() for _ in tensors],
        norm_reference=[8.0] * count,
        largest=[draw.random() for _ in tensors],
        max_checkpoint=[1 + draw.random() for _ in tensors],
    )
    bins = [(tensor, 2.0**n, 2.0 ** (n + 1)) for tensor in tensors for n in range(-12, -2)]
    _table(
        draft / "changes.parquet",
        tensor=[each[0] for each in bins],
        lower=[each[1] for each in bins],
        upper=[each[2] for each in bins],
        negative=[draw.randrange(4) for _ in bins],
        positive=[draw.randrange(4) for _ in bins],
    )
    _table(
        draft / "maps.parquet",
        tensor=tensors,
        rows=[4] * count,
        columns=[4] * count,
        largest=[[draw.random() * 0.01 for _ in range(16)] for _ in tensors],
    )
    ranks = [(model, rank) for model in ("reference", "checkpoint") for rank in range(1, 6)]
    _table(
        draft / "ranks.parquet",
        model=[each[0] for each in ranks],
        rank=[each[1] for each in ranks],
        **{
            f"{kind}_{of}": [shift / each[1] for each in ranks]
            for kind in ("logit", "p")
            for of, shift in (("mean", 0.5), ("q05", 0.4), ("q95", 0.6))
        },
    )
    if node.config["rho"]:
        _attributed(draft, draw)
    return {"entropy_checkpoint": draw.random(), "entropy_reference": draw.random()}


def _attributed(draft: Path, draw: random.Random) -> None:
    """The files that need an attribution."""
    scores = sorted((draw.random() for _ in MODULES), reverse=True)
    _table(
        draft / "attribution_modules.parquet",
        rank=list(range(1, len(MODULES) + 1)),
        module=MODULES,
        positive=scores,
        negative=[-score / 2 for score in scores],
    )
    _table(
        draft / "attribution_neurons.parquet",
        rank=list(range(1, 31)),
        module=MODULES[:1] * 30,
        index=list(range(30)),
        magnitude=[1 / n for n in range(1, 31)],
    )
    _table(draft / "target_tokens.parquet", text=TOKENS, count=list(range(len(TOKENS), 0, -1)))
    _table(
        draft / "targets.parquet",
        entropy_reference=[draw.random() for _ in range(24)],
        entropy_checkpoint=[draw.random() + 1 for _ in range(24)],
    )


_MAKERS: dict[str, Callable[[Path, Node, random.Random, int], dict[str, Any]]] = {
    "evaluate": _evaluate,
    "sft": _sft,
    "grpo": _grpo,
    "rejuvenate": _rejuvenate,
    "diagnose": _diagnose,
    "contamination": _contamination,
}


def _table(file: Path, **columns: list[Any]) -> None:
    pq.write_table(pa.table(columns), file)


def _lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
