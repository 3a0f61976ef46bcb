"""Clusters: conf/cluster as it is written, spelled out for every stage, and what is wrong with it beyond its form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from launch import credentials, local, options
from launch.job import Allocation, Cluster
from orchestrator import named
from orchestrator.refusal import ConfigError, instead
from stages import contract


def spelled_out(cluster: Any) -> Any:
    """Spell out the classes and stages of a cluster: what they do not say is the default's, or their class's.

    What is not of the form that a cluster has is left to `parse`.
    """
    if not isinstance(cluster, dict) or not isinstance(cluster.get("default"), dict):
        return cluster
    default, classes, stages = cluster["default"], cluster.get("classes") or {}, cluster.get("stages") or {}
    if not isinstance(classes, dict) or not isinstance(stages, dict):
        return cluster
    whole = {name: {**default, **own} if isinstance(own, dict) else own for name, own in classes.items()}
    return {
        **cluster,
        "classes": whole,
        "stages": {n: _read_needs(n, own, default, whole) for n, own in stages.items()},
    }


def completed(cluster: Cluster) -> Cluster:
    """A cluster that is this machine knows the memory of its GPUs, where the config does not say it."""
    asks = any(needs.gpus and needs.gpu_memory is None for needs in (cluster.default, *cluster.stages.values()))
    memory = local.gpu_memory() if asks and cluster.launcher != "slurm" else None
    if memory is None:
        return cluster

    def known(needs: Allocation) -> Allocation:
        return replace(needs, gpu_memory=memory) if needs.gpus and needs.gpu_memory is None else needs

    stages = {name: known(needs) for name, needs in cluster.stages.items()}
    return replace(cluster, default=known(cluster.default), stages=stages)


def errors(cluster: Cluster) -> list[str]:
    """What is wrong with a cluster beyond the form of its fields."""
    names = contract.names()
    unknown = sorted(cluster.stages.keys() - set(names))
    return [
        *(f"cluster.stages.{name}: no such stage{instead(name, names)}" for name in unknown),
        *named.of_cluster(cluster),
        *_short_times(cluster),
        *_split_models(cluster),
        *_rollouts(cluster),
        *_taken_options(cluster),
    ]


def notes(cluster: Cluster) -> list[str]:
    """What may not be meant: options that no sbatch is known to have, but a plugin of the site may."""
    return [
        f"{key}={value}: no option of sbatch that is known here{_meant(name)}; passed on as --{options.named(name)}"
        for key, name, value in _options(cluster)
        if options.named(name) not in options.KNOWN
    ]


def _named(cluster: Cluster) -> dict[str, Allocation]:
    """What is asked for, by the key that says so."""
    return {"cluster.default": cluster.default, **{f"cluster.stages.{name}": c for name, c in cluster.stages.items()}}


def _options(cluster: Cluster) -> Iterator[tuple[str, str, object]]:
    """(Key, name, value) of every further option of sbatch, where it is said first."""
    if cluster.launcher != "slurm":
        return
    classes = {f"cluster.classes.{name}": needs for name, needs in cluster.classes.items()}
    stages = {f"cluster.stages.{name}": needs for name, needs in cluster.stages.items()}
    seen: set[tuple[str, object]] = set()
    for key, needs in {"cluster.default": cluster.default, **classes, **stages}.items():
        for name, value in needs.sbatch.items():
            if (name, value) not in seen:
                seen.add((name, value))
                yield f"{key}.sbatch.{name}", name, value


def _taken_options(cluster: Cluster) -> Iterator[str]:
    """Options of sbatch that are not the site's to set."""
    for key, name, value in _options(cluster):
        why = options.reserved(name, value)
        if options.named(name) == "export" and (secret := _secret(str(value))):
            remedy = "a config is recorded, and jobs have the environment of the head; leave it out"
            yield f"{key}: {secret} holds a secret; {remedy}"
        elif why is not None:
            own = options.named(name)
            also = f" is sbatch's --{own}, and" if own != name else ""
            yield f"{key}={value}:{also} is not yours to set: {why}; leave it out"


def _secret(export: str) -> str | None:
    """The first variable of `ALL,NAME=VALUE` whose name says that it holds a secret."""
    named = (each.partition("=") for each in export.split(","))
    return next((variable for variable, _, value in named if value and credentials.is_secret(variable)), None)


def _meant(name: str) -> str:
    """`; did you mean 'partition'?`"""
    return instead(options.named(name), options.KNOWN).partition("; allowed:")[0]


def _rollouts(cluster: Cluster) -> Iterator[str]:
    """A rollout server without GPUs, or one that leaves none to train on."""
    for key, needs in _named(cluster).items():
        gpus, nodes = needs.rollout_gpus, needs.rollout_nodes
        if needs.rollouts == "colocate":
            yield from (
                f"{key}.{field}={value}: has no effect with {key}.rollouts=colocate; set {key}.rollouts=server"
                for field, value in (("rollout_gpus", gpus), ("rollout_nodes", nodes))
                if value
            )
            continue
        if gpus and gpus >= needs.gpus:
            yield f"{key}.rollout_gpus={gpus}: leaves no GPU to train on; allowed: below {key}.gpus={needs.gpus}"
        if nodes and nodes >= needs.nodes:
            allowed = f"below {key}.nodes={needs.nodes}"
            yield f"{key}.rollout_nodes={nodes}: leaves no machine to train on; allowed: {allowed}"
        if gpus and nodes:
            yield (
                f"{key}.rollout_gpus={gpus}: has no effect beside {key}.rollout_nodes={nodes}, machines that serve "
                "with all of their GPUs; set one of them"
            )
        if needs.gpus and not gpus and not nodes:
            yield (
                f"{key}.rollouts=server: has no GPU of its own; set {key}.rollout_gpus (below {key}.gpus={needs.gpus}) "
                f"or {key}.rollout_nodes (below {key}.nodes={needs.nodes})"
            )
        if gpus % needs.tensor_parallel:
            yield (
                f"{key}.tensor_parallel={needs.tensor_parallel}: does not divide {key}.rollout_gpus={gpus}, "
                "the GPUs of the rollout server"
            )


def _split_models(cluster: Cluster) -> Iterator[str]:
    """GPUs that cannot be shared out among copies of a model."""
    for key, needs in _named(cluster).items():
        size = needs.tensor_parallel
        if needs.gpus > 0 and needs.gpus % size:
            allowed = ", ".join(str(n) for n in range(1, needs.gpus + 1) if needs.gpus % n == 0)
            yield f"{key}.tensor_parallel={size}: does not divide {key}.gpus={needs.gpus}; allowed: {allowed}"
        elif needs.replicas is not None and needs.gpus > 0 and needs.replicas * size > needs.gpus:
            yield (
                f"{key}.replicas={needs.replicas}: with {key}.tensor_parallel={size} they need "
                f"{needs.replicas * size} GPUs, and {key}.gpus={needs.gpus}"
            )


def _short_times(cluster: Cluster) -> list[str]:
    """Time limits that leave a job no time between its start and the signal to save."""
    if cluster.launcher != "slurm":
        return []
    return [
        f"{key}.time={needs.time}: minutes; a job is told to save and stop {cluster.grace} s before its end "
        f"(cluster.grace), so it needs at least {2 * cluster.grace / 60:.1f} min"
        for key, needs in _named(cluster).items()
        if 60 * needs.time < 2 * cluster.grace
    ]


def _read_needs(stage: str, own: Any, default: dict[str, Any], classes: dict[str, Any]) -> Any:
    """What a stage needs: the name of a class, or fields, among them perhaps `class`."""
    own = {"class": own} if isinstance(own, str) else own
    if not isinstance(own, dict):
        return own
    name = own.get("class")
    if name is not None and name not in classes:
        raise ConfigError([f"cluster.stages.{stage}={name!r}: no such class of resources{instead(str(name), classes)}"])
    fields = {field: value for field, value in own.items() if field != "class"}
    return {**(classes[name] if name is not None else default), **fields}
