"""Chains: expanding the variants of an experiment into the nodes of one graph.

A chain carries a context: the latest artifact of each kind. Each stage takes from it what it needs and puts in what
it makes. All errors of all chains are collected, each with its key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from types import ModuleType
from typing import Any

from orchestrator import benchmarks
from orchestrator.experiment import BASE, Diagnosis, Experiment, Step
from orchestrator.graph import Context, Graph, Node
from orchestrator.refusal import ConfigError, instead, parse
from orchestrator.sources import Source, Sources
from stages import contract

#: Each kind's meaning, for the message about one that is missing.
_KINDS = {
    "base": "set base to a hub id or a folder",
    "checkpoint": "set base or checkpoint to a hub id or a folder",
    "attribution": "put attribute before it in the chain (rejuvenate needs none at rho 0)",
    "demonstrations": "set demonstrations to a data source",
    "problems": "set problems to a data source",
    "calibration": "set calibration or demonstrations to a data source",
    "benchmark": "it is no stage of a chain; choose benchmarks, for example benchmark=[math500]",
    "shots": "give the benchmark a data source shots, or set its shots to 0",
    "corpus": "it is no stage of a chain; a study has it for its demonstrations and problems",
    "reference": "it is no stage of a chain; name two checkpoints in diagnoses",
}

#: How a diagnosis comes by an attribution: it is no chain.
_TO_DIAGNOSE = "name one of a variant whose chain has attribute (attribution: VARIANT), or pin diagnose: {rho: 0.0}"


def expand(experiment: Experiment, sources: Sources) -> Graph:
    """The graph of an experiment.

    Raises:
        ConfigError: with every error of every chain.
    """
    return _Expansion(experiment, sources).graph()


class _Expansion:
    """Expands the chains of one experiment, collecting errors instead of stopping at the first."""

    def __init__(self, experiment: Experiment, sources: Sources) -> None:
        self._experiment = experiment
        self._sources = sources
        self._graph = Graph()
        self._errors: dict[str, None] = {}  # a set that keeps its order
        self._pinned: dict[str, list[dict[str, Any]]] = {}
        self._offered: set[str] = set()  # nodes that no variant names: they make the base, or data, for who reads it
        self._broken: set[str] = set()  # kinds of source that have an error of their own
        self._configs: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}  # by stage and pins, those without error
        self._attributions: dict[str, Node | Source | None] = {}  # by variant, the last of its chain; None: not made

    def graph(self) -> Graph:
        start, sets_of = self._start(), self._benchmarks()
        for name, chain in self._experiment.variants.items():
            context = self._chain(chain, start, name)
            self._graph.variants[name] = context
            if "checkpoint" in context:  # else the chain's own error has been noted
                for benchmark, sets in sets_of.items():
                    self._evaluate(name, benchmark, {**context, **sets})
        for name, diagnosis in self._experiment.diagnoses.items():
            self._diagnose(name, diagnosis, start)
        self._contamination(start, sets_of)
        self._check_overrides()
        if self._errors:
            raise ConfigError(self._errors)
        self._leave_out_unread()
        self._graph.sort()
        self._sources.remember()
        return self._graph

    def _leave_out_unread(self) -> None:
        """A stage that would make data or a base model alone is no part of a study that reads neither."""
        nodes, read = self._graph.nodes, {key for key in self._graph.nodes if key not in self._offered}
        queue = [nodes[key] for key in read]
        while queue:
            for need in queue.pop().needs():
                if need.fingerprint not in read:
                    read.add(need.fingerprint)
                    queue.append(need)
        self._graph.references -= len(nodes) - len(read)
        self._graph.nodes = {key: node for key, node in nodes.items() if key in read}

    def _start(self) -> Context:
        """What every chain starts with: the data sources, and the base model as base and as checkpoint."""
        experiment = self._experiment
        start: Context = {}
        if isinstance(experiment.base, list):
            made = self._chain(experiment.base, {}, "base")
            self._offered |= self._graph.nodes.keys()
            if "checkpoint" in made:
                start["base"] = start["checkpoint"] = made["checkpoint"]
            else:
                self._broken |= {"base", "checkpoint"}
        elif experiment.base is not None:
            with _Collecting(self._errors) as failed:
                start["base"] = start["checkpoint"] = self._sources.model(experiment.base, "base")
            self._broken |= {"base", "checkpoint"} if failed else set()
        for kind, data in experiment.data.items():
            key = "demonstrations" if data is experiment.data.get("demonstrations") else kind  # as calibration may be
            with _Collecting(self._errors) as failed:
                found = self._sources.data(data, key, self._origin(data.stage, key), experiment.prompt)
                start[kind] = benchmarks.check_problems(found, key, self._sources) if kind == "problems" else found
            self._broken |= {kind} if failed else set()
        return start

    def _origin(self, stage: str | None, key: str) -> Node | None:
        """The node of a stage whose artifact holds data, with the config's own fields."""
        if stage is None:
            return None
        if stage not in contract.names():
            raise ConfigError([f"{key}.stage={stage!r}: no such stage; allowed: {', '.join(contract.names())}"])
        made = self._step(Step(stage, {}, key), {}, "base")
        self._offered.add(made.fingerprint)
        return made

    def _chain(self, chain: list[Step], start: Context, label: str) -> Context:
        """Walk a chain; where a step is wrong the rest is still looked at, as far as it does not depend on it."""
        context = dict(start)
        broken = set(self._broken)
        for step in chain:
            makes = contract.load(step.stage).MAKES if step.stage != "checkpoint" else ("checkpoint",)
            made = None
            with _Collecting(self._errors) as failed:
                made = self._made(step, context, label, broken)
                self._offered.discard(made.fingerprint)  # a variant may name what makes the base, too
                if "checkpoint" in makes:
                    context.pop("attribution", None)  # it belonged to the checkpoint before
                context.update(dict.fromkeys(makes, made))
            if "attribution" in makes:
                self._attributions[label] = made
            broken = broken.union(makes) if failed else broken.difference(makes)
        return {kind: made for kind, made in context.items() if kind not in broken}

    def _made(self, step: Step, context: Context, label: str, broken: set[str]) -> Node | Source:
        return self._checkpoint(step) if step.stage == "checkpoint" else self._step(step, context, label, broken)

    def _checkpoint(self, step: Step) -> Source:
        text = step.pins if isinstance(step.pins, str) else self._experiment.checkpoint
        if text is None:
            raise ConfigError([f"{step.key}=checkpoint: checkpoint has no value; set it to a hub id or a folder"])
        return self._sources.model(text, step.key if isinstance(step.pins, str) else "checkpoint")

    def _step(self, step: Step, context: Context, label: str, broken: Iterable[str] = ()) -> Node:
        """One stage of a chain as a node: its pins win over the config, which has the command line in it.

        What is `broken` has an error of its own already; a stage that needs it adds no second one.
        """
        stage = contract.load(step.stage)
        self._pinned.setdefault(step.stage, []).append(dict(step.pins))
        if step.stage not in self._experiment.stages:
            raise ConfigError(
                [f"{step.key}: the config has no {step.stage}; add a group, for example +{step.stage}=..."]
            )
        config, fields = self._config(stage, step)
        missing = [kind for kind in stage.takes(config) if kind not in context or kind in broken]
        if missing:
            remedies = {**_KINDS, "attribution": _TO_DIAGNOSE} if step.stage == "diagnose" else _KINDS
            unsaid = [kind for kind in missing if kind not in broken]
            raise ConfigError(f"{step.key}: {step.stage} needs {kind}; {remedies[kind]}" for kind in unsaid)
        inputs = {kind: context[kind] for kind in stage.takes(config)}
        _check_budget(step, config, inputs)
        return self._graph.add(Node(stage=step.stage, version=stage.VERSION, config=fields, inputs=inputs, label=label))

    def _config(self, stage: ModuleType, step: Step) -> tuple[Any, dict[str, Any]]:
        """The validated Config of a step, and its fields. Steps of a stage that pin the same share both."""
        key = step.stage, json.dumps(step.pins)
        if key not in self._configs:
            config = self._parse(stage, step)
            self._configs[key] = config, asdict(config)
        return self._configs[key]

    def _parse(self, stage: ModuleType, step: Step) -> Any:
        """The validated Config of a step. Errors in a pinned field are reported where it is pinned."""
        own = self._experiment.stages[step.stage]
        try:
            config = parse(stage.Config, {**own, **step.pins}, step.stage)
        except ConfigError as error:
            pinned = tuple(f"{step.stage}.{name}" for name in step.pins)
            raise ConfigError(
                f"{step.key}.{message}" if message.startswith(pinned) and pinned else message
                for message in error.messages
            ) from None
        found = stage.check(config) if hasattr(stage, "check") else []
        if found:
            raise ConfigError(f"{step.stage}.{message}" for message in found)
        return config

    def _benchmarks(self) -> dict[str, Context]:
        """Benchmark -> its problems and worked examples, for those that have no error."""
        found: dict[str, Context] = {}
        for name, benchmark in self._experiment.benchmarks.items():
            config = None
            if "evaluate" in self._experiment.stages:  # looked at even if the problems are not there
                with _Collecting(self._errors):
                    step = Step("evaluate", benchmark.evaluate, f"benchmark.{name}")
                    config, _ = self._config(contract.load("evaluate"), step)
            with _Collecting(self._errors):
                sets = {"benchmark": benchmark.data, "shots": benchmark.shots}
                keys = {"benchmark": f"benchmark.{name}.data", "shots": f"benchmark.{name}.shots"}
                sources = {
                    kind: self._sources.data(data, keys[kind], self._origin(data.stage, keys[kind]))
                    for kind, data in sets.items()
                    if data is not None
                }
                if config is not None:
                    known = sources["benchmark"]
                    sources["benchmark"] = benchmarks.check(known, config, keys["benchmark"], self._sources)
                found[name] = dict(sources)
        return found

    def _evaluate(self, variant: str, name: str, context: Context) -> None:
        """The cell of the result table for one variant and one benchmark."""
        step = Step("evaluate", self._experiment.benchmarks[name].evaluate, f"benchmark.{name}")
        with _Collecting(self._errors):
            self._graph.scores[variant, name] = self._step(step, context, f"{variant}.{name}")

    def _contamination(self, start: Context, sets_of: dict[str, Context]) -> None:
        """Where a benchmark's problems are looked for: in the data that this study trains on."""
        if "contamination" not in self._experiment.stages:
            return
        for name, sets in sets_of.items():
            if self._experiment.benchmarks[name].group == "validation":  # part of the data by design
                continue
            for kind in ("demonstrations", "problems"):
                if kind in start and start[kind].fingerprint in self._graph.sources:
                    step = Step("contamination", {}, f"benchmark.{name}")
                    context = {**sets, "corpus": start[kind]}
                    with _Collecting(self._errors):
                        self._graph.contamination[name, kind] = self._step(step, context, f"{name}.{kind}")

    def _diagnose(self, name: str, diagnosis: Diagnosis, start: Context) -> None:
        """The node of one diagnosis. What is missing because of an error in a chain adds no second one."""
        key = f"diagnoses.{name}"
        broken = {"calibration"} & self._broken
        with _Collecting(self._errors):
            context = {kind: start[kind] for kind in ("calibration",) if kind in start}
            for kind, variant in (("reference", diagnosis.reference), ("checkpoint", diagnosis.checkpoint)):
                end = start if variant == BASE else self._graph.variants[variant]
                if "checkpoint" in end:
                    context[kind] = end["checkpoint"]
                elif variant == BASE and self._experiment.base is None:
                    raise ConfigError([f"{key}.{kind}=base: base has no value; set it to a hub id or a folder"])
                else:
                    broken.add(kind)
            if diagnosis.attribution is not None:
                found = self._attribution(diagnosis.attribution, f"{key}.attribution")
                context |= {"attribution": found} if found is not None else {}
                broken |= {"attribution"} if found is None else set()
            self._graph.diagnoses[name] = self._step(Step("diagnose", diagnosis.diagnose, key), context, name, broken)

    def _attribution(self, variant: str, key: str) -> Node | Source | None:
        """The last attribution of a chain, also if a later stage has used it; None if it has an error of its own."""
        if variant not in self._attributions:
            allowed = instead(variant, (name for name in self._experiment.variants if name in self._attributions))
            raise ConfigError([f"{key}={variant!r}: its chain has no attribution{allowed}"])
        return self._attributions[variant]

    def _check_overrides(self) -> None:
        """Refuse what the command line sets in vain: a field that every chain pins, or a stage that none has."""
        for stage, fields in self._experiment.overrides.items():
            pins = self._pinned.get(stage, [])
            for name, text in fields.items():
                where = f"{stage}.{name}={text}"
                if not pins:
                    self._errors[f"{where}: has no effect; nothing in this study has a {stage} stage"] = None
                elif all(name in pinned for pinned in pins):
                    values = ", ".join(sorted({str(pinned[name]) for pinned in pins}))
                    who = "diagnosis" if stage == "diagnose" else "variant or benchmark"
                    self._errors[f"{where}: has no effect; every {who} pins it ({values})"] = None


class _Collecting:
    """Note the messages of a ConfigError raised in the block, and go on after it. True if there was one."""

    def __init__(self, errors: dict[str, None]) -> None:
        self._errors = errors
        self._caught = False

    def __bool__(self) -> bool:
        return self._caught

    def __enter__(self) -> _Collecting:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ConfigError):
            self._errors.update(dict.fromkeys(error.messages))
            self._caught = True
        return self._caught


def _check_budget(step: Step, config: Any, inputs: dict[str, Node | Source]) -> None:
    """Attribution keeps the top `keep` of the neurons; a larger rho asks for scores that were not kept."""
    attribution = inputs.get("attribution")
    if isinstance(attribution, Node) and config.rho > attribution.config["keep"]:
        keep = attribution.config["keep"]
        key = f"{step.key}.{step.stage}" if "rho" in step.pins else step.stage
        raise ConfigError([f"{key}.rho={config.rho}: above attribute.keep={keep}; raise attribute.keep"])
