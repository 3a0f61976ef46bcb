"""The sides of a comparison: which variants of which study two names mean.

A name is a variant (`ModSFT+RL`, or `ModSFT@seed=1` of a sweep), a variant of another experiment
(`tiny_variants:DFT+RL`), or another experiment: of that the variants that have the names of the first side's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from orchestrator import config, hint, place, sweep
from orchestrator.command import Command, Study
from orchestrator.experiment import Experiment
from orchestrator.refusal import ConfigError, instead


@dataclass(frozen=True, eq=False)
class Side:
    """A name as it is shown, its study, and the variants that are its seeds: one, or several in the order of seeds."""

    name: str
    study: Study
    variants: list[str]
    command: Command


def is_name(word: str) -> bool:
    """Whether a word of the command line names a side. A label of a sweep has a = in it, as an override has."""
    key, equals, _ = word.partition("=")
    if word.startswith(("+", "~", "-")):
        return False
    return not equals or ("@" in key and not (resources.files("conf") / key.partition("@")[0]).is_dir())


def overrides_of(names: Sequence[str], overrides: list[str]) -> list[str]:
    """The overrides of the first side's study: if no experiment is chosen, the one that a name begins with."""
    named = [name.partition(":")[0] for name in names if ":" in name or _is_experiment(name)]
    if named and not any(_chooses(override) for override in overrides):
        return [f"+experiment={named[0]}", *overrides]
    return overrides


def pairs(first: str, second: str, study: Study, command: Command) -> list[tuple[Side, Side]]:
    """What is compared with what.

    Raises:
        ConfigError: a name means nothing, both mean the same, or two experiments have no variant in common.
    """
    sides = {name: _resolve(name, study, command) for name in (first, second)}
    (one, left), (other, right) = sides[first], sides[second]
    if left is None and right is None:
        common = [name for name in one.study.experiment.variants if name in other.study.experiment.variants]
        if not common or one.study is other.study:
            what = f"{first} and {second} have no variant of the same name" if not common else "both are one experiment"
            raise ConfigError([f"compare {first} {second}: {what}; name one of each, as in {first}:VARIANT"])
        return [(_side(name, one, qualified=True), _side(name, other, qualified=True)) for name in common]
    both = (left or right or "", right or left or "")
    qualified = one.study is not other.study
    found = _side(both[0], one, qualified=qualified), _side(both[1], other, qualified=qualified)
    if not qualified and found[0].variants == found[1].variants:
        raise ConfigError([f"compare {first} {second}: both are {found[0].name}; name two variants"])
    return [found]


def seeds(name: str, experiment: Experiment) -> list[str]:
    """The variants that are the seeds of a name; none if it names no variant.

    In a sweep over seeds, a variant's plain name means all of them: `ModSFT` is `ModSFT@seed=0` and `ModSFT@seed=1`.
    """
    if name in experiment.replicas:
        return experiment.replicas[name]
    if name in experiment.variants:
        return [name]
    return [each for each in experiment.variants if each.startswith(f"{name}@seed=") and "," not in each]


@dataclass(frozen=True)
class _Place:
    """An experiment with its study, and a command line that is about it."""

    name: str
    study: Study
    command: Command


def _resolve(name: str, study: Study, command: Command) -> tuple[_Place, str | None]:
    """Where a name belongs, and the variant that it means there; None for a whole experiment."""
    here = _Place(study.experiment.name, study, command)
    if seeds(name, study.experiment):
        return here, name
    chosen, colon, variant = name.partition(":")
    if not colon and not _is_experiment(name):
        known = dict.fromkeys([*study.experiment.replicas, *study.experiment.variants])
        hint = instead(name, known)
        raise ConfigError([f"compare {name}: neither a variant of {study.experiment.name} nor an experiment{hint}"])
    place = here if chosen in (study.experiment.name, _chosen(command.overrides)) else _elsewhere(chosen, command)
    if not variant:
        return place, None
    if not seeds(variant, place.study.experiment):
        raise ConfigError([f"compare {name}: not a variant{instead(variant, place.study.experiment.variants)}"])
    return place, variant


def _elsewhere(name: str, command: Command) -> _Place:
    """Another experiment under the same overrides."""
    if command.multirun:
        raise ConfigError(
            [f"compare {name}: a sweep is of one experiment; compare its members, as in A@seed=0 A@seed=1"]
        )
    overrides = [f"+experiment={name}", *(each for each in command.overrides if not _chooses(each))]
    merged, graph = sweep.merge(sweep.read([config.compose(overrides)]))
    moved = Command(command.verb, command.node, command.flags, overrides)
    return _Place(merged.name, Study(merged, graph, place.store(merged.store, merged.reads)), moved)


def _side(variant: str, place: _Place, *, qualified: bool) -> Side:
    found = seeds(variant, place.study.experiment)
    if not found:
        known = instead(variant, place.study.experiment.variants)
        raise ConfigError([f"compare {place.name}:{variant}: not a variant{known}"])
    return Side(f"{place.name}:{variant}" if qualified else variant, place.study, found, place.command)


def missing_command(side: Side, variants: Iterable[str]) -> str:
    """The command that makes what these variants lack."""
    plain = [variant for variant in variants if all(each.isalnum() or each in "+._-" for each in variant)]
    chosen = any(override.partition("=")[0] == "only" for override in side.command.overrides)
    only = [f"only=[{','.join(dict.fromkeys(plain))}]"] if plain and not chosen else []
    return hint.line(side.command, "run", *only)


def _chooses(override: str) -> bool:
    return override.lstrip("+").partition("=")[0] == "experiment"


def _chosen(overrides: Iterable[str]) -> str:
    return next((each.partition("=")[2] for each in overrides if _chooses(each)), "")


def _is_experiment(name: str) -> bool:
    return "/" not in name and (resources.files("conf") / "experiment" / f"{name}.yaml").is_file()
