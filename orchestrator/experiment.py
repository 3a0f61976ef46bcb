"""An experiment: what a composed config says, as validated plain data.

This module checks the frame (variants, data, benchmarks, cluster); `orchestrator.graph` checks each stage's config
where a chain uses it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from launch.job import Cluster
from launch.tracking import Tracking
from orchestrator import clusters, named, secret, tracked
from orchestrator.claim import Claim
from orchestrator.refusal import ConfigError, instead, nearest, parse
from orchestrator.values import shown
from stages import contract, rows

_STRICT = ConfigDict(extra="forbid", strict=True)

#: The kinds of data source that a chain starts with; each is a key of the config.
DATA = ("demonstrations", "problems", "calibration")

#: Name that a table shows -> seed -> what has that seed.
Seeded = dict[str, dict[int, str]]

#: What a diagnosis calls the model that every chain starts from.
BASE = "base"


@validated(frozen=True, kw_only=True, config=_STRICT)
class Data:
    """A data source: one of `path` (a file or folder), `hub` (a data set's id) and `stage` (its artifact).

    A `path` beside `hub` is read in its place, for those who have the same columns in a file or folder.

    Attributes:
        file: the file inside the folder or artifact.
        config, revision: of a hub data set.
        split: of a hub data set, and rows of it or of a file, as in `test`, `[-32:]`, `train[:100]`.
        fields: field -> template over columns, see `stages.rows`; None for what `orchestrator.columns` makes of them.
    """

    path: str | None = None
    hub: str | None = None
    stage: str | None = None
    file: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    fields: dict[str, str] | None = None


@validated(frozen=True, kw_only=True, config=_STRICT)
class Benchmark:
    """conf/benchmark/*.yaml: a test set, or what stands in for one while something is chosen.

    Attributes:
        group: the average it belongs to; `extra` and `validation` are in none.
        data: its problems.
        shots: worked examples, for a benchmark that puts some before its questions.
        evaluate: the fields of the evaluate stage that belong to this benchmark (kind, k, problems, ...).
    """

    group: Literal["ID", "OOD", "extra", "validation"]
    data: Data
    shots: Data | None = None
    evaluate: dict[str, Any]


@validated(frozen=True, kw_only=True, config=_STRICT)
class Diagnosis:
    """Two checkpoints of the study whose difference is measured, by the stage `diagnose`.

    Attributes:
        checkpoint: the variant that is looked at: the checkpoint at the end of its chain.
        reference: the variant that it is compared with; `base` is the experiment's base model.
        attribution: a variant whose chain has an attribution: that one is shown too, where rho is above 0.
        diagnose: the fields of the stage that this diagnosis pins.
    """

    checkpoint: str
    reference: str
    attribution: str | None = None
    diagnose: dict[str, Any] = Field(default_factory=dict)

    @property
    def variants(self) -> set[str]:
        """The variants that it names."""
        named = {self.checkpoint, self.reference, self.attribution} - {None, BASE}
        return {name for name in named if name is not None}


@validated(frozen=True, kw_only=True, config=_STRICT)
class Difference:
    """Two variants whose scores are compared, problem by problem: what is reported is `variant` minus `reference`."""

    variant: str
    reference: str


@validated(frozen=True, kw_only=True, config=_STRICT)
class Objective:
    """What a search maximises: the score of a variant on a benchmark of the group `validation`, never on a test set."""

    variant: str
    benchmark: str


@dataclass(frozen=True)
class Step:
    """One stage of a chain, with the fields that the chain pins. `key` is where the config says so."""

    stage: str
    pins: Mapping[str, Any]
    key: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question: variants of a chain, their data and benchmarks, and where to run.

    Attributes:
        reads: the stores of others whose artifacts count as published.
        reports: the folder of what is shown in files; None for that of the store.
        base: where every chain starts: a hub id or folder, or a chain that makes it.
        checkpoint: a hub id or folder that a chain may start from instead, by naming `checkpoint` first.
        variants: name -> chain; each is a row of the result table.
        diagnoses: name -> what is compared; each is a row of the table of diagnoses.
        differences: name -> the variants whose scores are compared; each is a column of the table of differences.
        question: what it asks, in a sentence or two.
        protocol: how its settings were chosen and its runs made, in paragraphs, for whoever weighs the result.
        claims: name -> what the study is to hold against its numbers.
        seed, seeds: the seed, and those with which it is replicated; no seeds if it has one alone.
        seeded_variants: name that a table shows -> seed -> the variant of that seed.
        seeded_differences, seeded_diagnoses: the same of those.
        data: kind -> data source, for those kinds of `DATA` that the experiment gives.
        objective: what a search maximises, if it is one.
        stages: stage -> its fields, as the config has them after the command line.
        overrides: stage -> field -> text, for what the command line itself sets.
        tracking: what is recorded in W&B.
        prompt: the template of a prompt over a question, for data that does not say how its prompts are made.
        notes: what may not be meant, for whoever plans or runs it.
    """

    name: str
    store: str
    reads: list[str]
    reports: str | None
    base: str | list[Step] | None
    checkpoint: str | None
    variants: dict[str, list[Step]]
    diagnoses: dict[str, Diagnosis]
    differences: dict[str, Difference]
    question: str
    protocol: str
    claims: dict[str, Claim]
    seed: int
    seeds: list[int]
    seeded_variants: Seeded
    seeded_differences: Seeded
    seeded_diagnoses: Seeded
    data: dict[str, Data]
    benchmarks: dict[str, Benchmark]
    objective: Objective | None
    stages: dict[str, dict[str, Any]]
    cluster: Cluster
    overrides: dict[str, dict[str, str]]
    tracking: Tracking = Tracking()
    prompt: str = "{{ question }}"
    notes: list[str] = field(default_factory=list)

    @property
    def tracked(self) -> dict[str, Any] | None:
        """What the node.json of its nodes says of W&B."""
        return self.tracking.group(self.name)

    @property
    def replicas(self) -> dict[str, list[str]]:
        """Name that a table shows -> its variants, in the order of seeds; one, where the seed makes no difference."""
        return {name: list(dict.fromkeys(of.values())) for name, of in self.seeded_variants.items()}


@validated(frozen=True, kw_only=True, config=_STRICT)
class _Place:
    """The keys of the config that say where."""

    store: Annotated[str, Field(min_length=1)]
    cluster: Cluster


@validated(frozen=True, kw_only=True, config=_STRICT)
class _Frame(_Place):
    """The keys of the config that are not stages."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    claims: dict[str, Claim] = Field(default_factory=dict)
    question: str = ""
    protocol: str = ""
    reads: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    reports: Annotated[str, Field(min_length=1)] | None = None
    seed: contract.Seed
    seeds: list[contract.Seed] = Field(default_factory=list)
    replicated: list[str] | None = None
    only: list[str]
    base: Any  # a string or a chain
    checkpoint: str | None
    demonstrations: Data | None
    problems: Data | None
    calibration: Data | None
    variants: dict[str, list[Any]]
    diagnoses: dict[str, Diagnosis] = Field(default_factory=dict)
    differences: dict[str, Difference] = Field(default_factory=dict)
    benchmark: dict[str, Benchmark]
    template: dict[str, str] = Field(default_factory=dict)  # conf/template/*.yaml: benchmarks and data refer to it
    objective: Objective | None = None
    wandb: Tracking = Field(default_factory=Tracking)


def read(config: Mapping[str, Any], overrides: dict[str, dict[str, str]]) -> Experiment:
    """The experiment of a composed config.

    Raises:
        ConfigError: with every error of the frame.
    """
    if secrets := list(secret.found(config)):
        raise ConfigError(secrets)
    names = contract.names()
    plain = {key: _read_data(key, value) for key, value in config.items() if key not in names}
    plain["wandb"], notes = tracked.read(plain.get("wandb", {}), os.environ)
    if strange := list(_strange_keys(plain)):
        raise ConfigError(strange)
    frame = parse(_Frame, {**plain, "cluster": clusters.spelled_out(plain.get("cluster"))}, "")
    errors = clusters.errors(frame.cluster)
    if frame.base is not None and not isinstance(frame.base, str | list):
        errors.append(f"base={frame.base!r}: expected a hub id, a folder or a chain")
    errors += _name_errors(frame)
    base = _chain(frame.base, "base", errors) if isinstance(frame.base, list) else frame.base
    variants = {name: _chain(chain, f"variants.{name}", errors) for name, chain in frame.variants.items()}
    if not variants:
        errors.append("variants: there are none; choose an experiment, for example +experiment=tiny_math")
    for unknown in set(frame.only) - variants.keys():
        errors.append(f"only: {unknown!r} is not a variant{instead(unknown, variants)}")
    chosen = {name: chain for name, chain in variants.items() if not frame.only or name in frame.only}
    errors += [*_seed_errors(frame), *_objective_errors(frame, chosen)]
    errors += [*_diagnosis_errors(frame), *_difference_errors(frame)]
    if errors:
        raise ConfigError(errors)
    if frame.seeds and frame.seed != frame.seeds[0] and frame.replicated is not None:
        chosen = {name: chain for name, chain in chosen.items() if name in frame.replicated}
    diagnoses = {name: each for name, each in frame.diagnoses.items() if each.variants <= chosen.keys()}
    differences = {
        name: each for name, each in frame.differences.items() if {each.variant, each.reference} <= chosen.keys()
    }
    given = {kind: getattr(frame, kind) for kind in DATA if getattr(frame, kind) is not None}
    given.setdefault("calibration", given.get("demonstrations"))
    return Experiment(
        name=frame.name,
        store=frame.store,
        reads=frame.reads,
        reports=frame.reports,
        base=base,
        checkpoint=frame.checkpoint,
        variants=chosen,
        diagnoses=diagnoses,
        differences=differences,
        question=" ".join(frame.question.split()),
        protocol="\n\n".join(" ".join(each.split()) for each in frame.protocol.strip().split("\n\n")),
        claims=frame.claims,
        seed=frame.seed,
        seeds=frame.seeds,
        seeded_variants={name: {frame.seed: name} for name in chosen},
        seeded_differences={name: {frame.seed: name} for name in differences},
        seeded_diagnoses={name: {frame.seed: name} for name in diagnoses},
        data={kind: source for kind, source in given.items() if source is not None},
        benchmarks=frame.benchmark,
        objective=frame.objective,
        stages={name: dict(config[name] or {}) for name in names if name in config},
        cluster=clusters.completed(frame.cluster),
        overrides=overrides,
        tracking=frame.wandb,
        prompt=frame.template.get("open", Experiment.prompt),
        notes=[*notes, *_without_effect(frame)],
    )


def _strange_keys(plain: Mapping[str, Any]) -> Iterator[str]:
    """Keys that an experiment does not have: of a file below its group's name, or of a group that is misspelt."""
    groups = [folder.name for folder in Path(str(resources.files("conf"))).iterdir() if folder.is_dir()]
    known = [*_Frame.__dataclass_fields__, *contract.names()]
    for key, value in plain.items():
        if key == "experiment":
            line = "`# @package _global_`"
            yield f"{key}: the file of this experiment has no line {line} at its top, so all of it lies below this key"
        elif key not in known and (group := nearest(key, groups)) is not None and isinstance(value, str):
            yield f"{key}={shown(value)}: no such key, and no such group; did you mean '+{group}={value}'?"
        elif key not in known:
            yield f"{key}: no such key{instead(key, known)}"


def _without_effect(frame: _Frame) -> Iterator[str]:
    """Keys that say something which nothing in this study heeds."""
    if frame.replicated is not None and not frame.seeds:
        yield f"replicated=[{','.join(frame.replicated)}]: has no effect without seeds; set for example 'seeds=[0,1,2]'"
    if not frame.benchmark and frame.differences:
        yield f"benchmark=[]: nothing is evaluated, so there are no differences ({', '.join(frame.differences)})"


def read_place(config: Mapping[str, Any]) -> tuple[Cluster, str]:
    """The cluster and the store of a composed config, whatever experiment it has, or none.

    Raises:
        ConfigError: with every error of these two.
    """
    plain = {"store": config.get("store"), "cluster": clusters.spelled_out(config.get("cluster"))}
    if secrets := list(secret.found(plain)):
        raise ConfigError(secrets)
    place = parse(_Place, plain, "")
    errors = clusters.errors(place.cluster)
    if errors:
        raise ConfigError(errors)
    return place.cluster, place.store


def _chain(items: list[Any], key: str, errors: list[str]) -> list[Step]:
    """Read a chain: stage names, or one-key mappings of a stage name to the fields it pins."""
    steps = []
    for position, item in enumerate(items):
        where = f"{key}[{position}]"
        if isinstance(item, dict) and len(item) == 1:
            ((stage, pins),) = item.items()
        else:
            stage, pins = item, {}
        allowed = [*contract.names(), "checkpoint"]
        if not isinstance(stage, str) or stage not in allowed:
            errors.append(f"{where}={item!r}: no such stage{instead(str(stage), allowed)}")
        elif stage == "checkpoint" and position > 0:
            errors.append(f"{where}=checkpoint: a chain can only start from a checkpoint")
        elif stage != "checkpoint" and not isinstance(pins or {}, dict):
            errors.append(f"{where}.{stage}={pins!r}: expected the fields that this chain pins")
        else:
            steps.append(Step(stage, pins if stage == "checkpoint" and pins else dict(pins or {}), where))
    if not items:
        errors.append(f"{key}: an empty chain; name at least one stage")
    return steps


def _name_errors(frame: _Frame) -> Iterator[str]:
    """What is wrong with the names of what tables, files and jobs are called after."""
    yield from named.faults("name", [frame.name])
    yield from named.faults("wandb.project", [frame.wandb.project])
    for key in ("variants", "diagnoses", "differences", "claims", "benchmark", "template"):
        yield from named.faults(key, getattr(frame, key))


def _seed_errors(frame: _Frame) -> Iterator[str]:
    """What is wrong with the seeds: one is there twice, or what has all of them is no variant."""
    for seed in dict.fromkeys(seed for seed in frame.seeds if frame.seeds.count(seed) > 1):
        yield f"seeds={frame.seeds}: {seed} is there twice"
    for name in dict.fromkeys(frame.replicated or []):
        if name not in frame.variants:
            yield f"replicated: {name!r} is not a variant{instead(name, frame.variants)}"
        if frame.replicated is not None and frame.replicated.count(name) > 1:
            yield f"replicated: {name} is there twice"


def _objective_errors(frame: _Frame, variants: Iterable[str]) -> list[str]:
    """What is wrong with the objective: what it names is not there, or must not be looked at to choose anything."""
    if frame.objective is None:
        return []
    variant, name = frame.objective.variant, frame.objective.benchmark
    errors = []
    if variant not in variants:
        errors.append(f"objective.variant={variant!r}: not a variant of this study{instead(variant, variants)}")
    benchmark = frame.benchmark.get(name)
    if benchmark is None:
        allowed = [each for each, found in frame.benchmark.items() if found.group == "validation"]
        hint = instead(name, allowed) or "; add one of the group validation, for example benchmark=[tiny_validation]"
        errors.append(f"objective.benchmark={name!r}: not a benchmark of this study{hint}")
    elif benchmark.group != "validation":
        rule = "a search maximises a benchmark of the group validation, never a test set"
        errors.append(f"objective.benchmark={name!r}: of the group {benchmark.group}; {rule}")
    return errors


def _diagnosis_errors(frame: _Frame) -> Iterator[str]:
    """What is wrong with the diagnoses: they name variants that are not there."""
    for name, diagnosis in frame.diagnoses.items():
        for key, allowed in (("checkpoint", [*frame.variants]), ("reference", [*frame.variants, BASE])):
            variant = getattr(diagnosis, key)
            if variant not in allowed:
                yield f"diagnoses.{name}.{key}={variant!r}: not a variant{instead(variant, allowed)}"
        variant = diagnosis.attribution
        if variant is not None and variant not in frame.variants:
            yield f"diagnoses.{name}.attribution={variant!r}: not a variant{instead(variant, frame.variants)}"


def _difference_errors(frame: _Frame) -> Iterator[str]:
    """What is wrong with the differences: they name variants that are not there, or one variant twice."""
    for name, difference in frame.differences.items():
        for key in ("variant", "reference"):
            variant = getattr(difference, key)
            if variant not in frame.variants:
                yield f"differences.{name}.{key}={variant!r}: not a variant{instead(variant, frame.variants)}"
        if difference.variant == difference.reference:
            yield f"differences.{name}.reference={difference.reference!r}: the variant itself; name another one"


def _read_data(key: str, value: Any) -> Any:
    """A bare path or hub id, where a data source is expected: its columns say what they are."""
    if key not in DATA or not isinstance(value, str) or value == "???":
        return value
    return {"hub" if is_hub_id(value) else "path": value}


def is_hub_id(text: str) -> bool:
    """Whether `text` reads as a hub id, `owner/name`, and not as a path."""
    looks = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text) is not None
    return looks and not text.endswith(rows.SUFFIXES) and not Path(text).exists()
