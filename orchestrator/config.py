"""Composing the config. Hydra is known here, in `overrides` and `guard` beside it, and in the plugin in hydra_plugins/.

`compose` turns the command line into plain data; `sweep` does so for every member of a sweep, with whichever sweeper
Hydra is told to use. Everything else that Hydra can do (`--help`, `--cfg job`, `--info`, tab completion) is Hydra's own
application, reached through `hydra_app`.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from orchestrator import config_loader, executed, guard, yaml_loader
from orchestrator import overrides as lines
from orchestrator.experiment import DATA
from orchestrator.overrides import REFUSALS, is_group
from orchestrator.refusal import ConfigError
from stages import contract

yaml_loader.install()

#: What the Optuna sweeper writes into Hydra's sweep folder at the end.
RESULTS = "optimization_results.yaml"

#: What Optuna says at the end if every member failed.
RESULTS_OF_NONE = "No trials are completed yet"


@dataclass(frozen=True)
class Composed:
    """A composed config as plain data.

    Attributes:
        config: the config, interpolations resolved; empty if `errors` leave nothing that composes.
        overrides: what the command line itself sets of the stages: stage -> field -> text.
        errors: one message for each override that does not fit; `config` is composed without those.
        values: what the sweep varies, key -> text; empty if this is no member of a sweep.
        replicas: the same with each of its `seeds`, which are then among their values; empty if it has none.
        notes: a line for each key that decides which code runs, with the file that sets it.
    """

    config: dict[str, Any]
    overrides: dict[str, dict[str, str]]
    errors: list[str]
    values: dict[str, str] = field(default_factory=dict)
    replicas: tuple[Composed, ...] = ()
    notes: tuple[str, ...] = ()


class Unscored(Exception):
    """A member that a search asked for has no score."""


def compose(arguments: list[str]) -> Composed:
    """Compose the config of a command line.

    Raises:
        ConfigError: an override is malformed, or has several values.
    """
    guard.up()
    overrides = lines.parse(arguments)
    with config_loader.initialized():
        overrides = lines.parse(lines.replacing(arguments, overrides))
        return _Composer(_composed, []).composed(overrides, [])


def sweep(arguments: list[str], act: Callable[[list[Composed], bool], Sequence[float | None]]) -> str | None:
    """Have Hydra's sweeper choose members, and hand each batch of them to `act`: all at once if the sweep is a grid.

    `act` also hears whether this is a search, whose sweeper wants a score for each member before it goes on. What
    `act` raises passes through.

    Returns:
        What the sweeper wrote about its results, as YAML.

    Raises:
        ConfigError: an override is malformed or does not compose, or the sweeper refuses it.
        Unscored: more members than the sweeper allows have no score.
    """
    guard.up()
    overrides = lines.parse(arguments, several=True)
    scores: list[float | None] | None = None  # None: no member was asked for yet

    def task(members: list[Composed], search: bool) -> Sequence[float | None]:
        nonlocal scores
        scores = scores or []
        found = act(members, search)
        scores += found
        return found

    with (
        tempfile.TemporaryDirectory(prefix="sweep-") as folder,  # for what Hydra would write into multirun/
        config_loader.initialized(),
    ):
        own = [f"hydra.sweep.dir={_quoted(folder)}", "hydra.mode=MULTIRUN", *_told(overrides)]
        application = GlobalHydra.instance().hydra
        assert application is not None
        try:
            application.multirun("config", task, [*own, *lines.replacing(arguments, overrides)])  # type: ignore[arg-type]  # the launcher calls it
        except REFUSALS as error:
            if scores is not None and all(score is None for score in scores) and RESULTS_OF_NONE in str(error):
                raise Unscored("no member has a score") from None
            if scores is not None:
                raise
            fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
            wrong = lines.explain(fixed, error) if fixed and isinstance(lines.attempt(tuple(fixed)), Exception) else {}
            raise ConfigError(wrong.values() or [lines.one_line(error)]) from None
        results = Path(folder) / RESULTS
        return results.read_text(encoding="utf-8") if results.is_file() else None


def members(master: DictConfig, loader: ConfigLoader, chosen: Sequence[Sequence[str]]) -> list[Composed]:
    """The members of a sweep, for its launcher: `chosen` are the overrides of each, `master` what all have in common.

    A member whose overrides do not fit says so in its `errors`.
    """
    parser = OverridesParser.create()
    task = parser.parse_overrides(list(master.hydra.overrides.task))
    fixed = {override.get_key_element() for override in task if not override.is_sweep_override()}
    anew = [f"{key}=null" for key in DATA if f"{key}=null" in master.hydra.overrides.task]  # a sweeper drops the first
    composer = _Composer(
        lambda overrides: loader.load_sweep_config(master, overrides), list(master.hydra.overrides.hydra)
    )
    found = []
    for each in chosen:
        overrides = parser.parse_overrides([*anew, *each])
        varied = [override for override in overrides if override.get_key_element() not in fixed]
        composed = composer.composed([override for override in overrides if override not in varied], varied)
        values = {override.get_key_element(): override.get_value_element_as_str() for override in varied}
        replicas = tuple(replace(each, values={**values, **each.values}) for each in composed.replicas)
        found.append(replace(composed, values=values, replicas=replicas))
    return found


class _Composer:
    """Composes configs that have most in common.

    A composition takes Hydra a tenth of a second, most of it for the defaults list. So what one choice of groups
    composes to is kept, and values are set in copies of it, as Hydra itself sets them.
    """

    def __init__(self, load: Callable[[list[str]], DictConfig], beside: list[str]) -> None:
        self._load = load
        self._beside = beside  # overrides of Hydra's own config, which may matter to whether another one composes
        self._bases: dict[tuple[str, ...], tuple[DictConfig | None, dict[str, str]]] = {}
        self._refused: dict[tuple[str, ...], str | None] = {}
        self._values: dict[str, bool] = {}  # key -> whether it is set, and chooses no group

    def composed(self, fixed: list[Override], varied: list[Override]) -> Composed:
        """The config of these overrides; only plain values among the `varied` are cheap to vary."""
        values = [override for override in varied if self._is_value(override)]
        arguments = [str(override.input_line) for override in [*fixed, *varied] if override not in values]
        base, errors = self._base(arguments)
        errors = dict(errors)
        stages = _stage_overrides([*fixed, *varied])
        if base is None:
            return Composed({}, stages, list(errors.values()))
        fitting = [override for override in values if self._fits(base, override, arguments, errors)]
        config = copy.deepcopy(base)
        for override in fitting:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        seeds = _seeds(config)
        if seeds:
            errors |= {seed: _beside(seed, seeds) for seed in _set([*fixed, *varied], "seed")}
        whole = _resolved(config, stages, list(errors.values()))
        if keys := list(executed.keys(whole.config)):
            words = [*self._beside, *arguments]
            whole = replace(
                whole,
                notes=tuple(
                    executed.notes(keys, lines.files(words), [*words, *(str(each.input_line) for each in values)])
                ),
            )
        return replace(whole, replicas=tuple(_replicas(config, seeds, whole)) if whole.config else ())

    def _base(self, arguments: list[str]) -> tuple[DictConfig | None, dict[str, str]]:
        """What `arguments` compose to without those that do not fit; those, each with its message."""
        key = tuple(arguments)
        if key not in self._bases:
            self._bases[key] = self._compose(arguments)
        return self._bases[key]

    def _compose(self, arguments: list[str]) -> tuple[DictConfig | None, dict[str, str]]:
        try:
            return self._loaded(arguments), {}
        except REFUSALS as error:
            errors = lines.explain([*self._beside, *arguments], error)
        if any(is_group(argument.split("=")[0]) for argument in errors):
            return None, errors
        try:
            return self._loaded([each for each in arguments if each not in errors]), errors
        except REFUSALS:
            return None, errors

    def _loaded(self, arguments: list[str]) -> DictConfig:
        """A config without Hydra's. A stage that the cluster's own file gives a class keeps it: fields add to it."""
        config = self._load(arguments)
        stages = OmegaConf.select(config, "cluster.stages")
        alone = [n for n, own in stages.items() if OmegaConf.is_dict(own) and "class" not in own] if stages else []
        if alone and OmegaConf.select(config, "cluster.classes"):
            places = [each for each in arguments if each.lstrip("+").startswith("hydra.searchpath")]
            site = self._load([f"cluster={config.hydra.runtime.choices.cluster}", *places]).cluster.stages
            with open_dict(config):
                for name in alone:
                    if isinstance(site.get(name), str):
                        config.cluster.stages[name]["class"] = site[name]
        return _own(config)

    def _is_value(self, override: Override) -> bool:
        """Whether an override sets a value that is there already: it adds and deletes no key, and chooses no group."""
        key = override.get_key_element()
        if key not in self._values:
            other = override.is_add() or override.is_force_add() or override.is_delete() or override.package
            self._values[key] = not other and not is_group(key)
        return self._values[key]

    def _fits(self, base: DictConfig, override: Override, arguments: list[str], errors: dict[str, str]) -> bool:
        """Whether the config has a place for a value, tried once for all members; if not, `errors` has its message."""
        argument = str(override.input_line)
        key = (*arguments, argument)
        if key not in self._refused:
            try:
                OmegaConf.update(copy.deepcopy(base), override.key_or_group, override.value(), merge=True)
                self._refused[key] = None
            except REFUSALS as error:
                found = lines.explain([*self._beside, *key], error)
                self._refused[key] = found.get(argument) or next(iter(found.values()))
        if message := self._refused[key]:
            errors[argument] = message
        return message is None


def _composed(overrides: list[str]) -> DictConfig:
    """A config with Hydra's own, which says what was chosen."""
    return hydra.compose("config", overrides=overrides, return_hydra_config=True)


def hydra_app(arguments: list[str]) -> None:
    """Run Hydra's own application on `arguments`: its help, its views of the config, its completion.

    Raises:
        ConfigError: flags that do not go together, or overrides that do not compose.
    """
    guard.up()
    chosen = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    elsewhere = any(
        argument.startswith(("-cp", "-cn", "-cd", "--config", "-m", "--multirun")) for argument in arguments
    )
    errors = compose(chosen).errors if chosen and not elsewhere else []
    if errors:  # Hydra would show where in its code it stumbled
        raise ConfigError(errors)
    sys.argv = [sys.argv[0], *arguments]
    try:
        hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")(lambda composed: None)()
    except ValueError as error:  # flags that do not go together
        raise ConfigError([str(error)]) from None


def hydra_flags() -> list[str]:
    """The flags of Hydra's own application."""
    from hydra._internal.utils import get_args_parser

    return [flag for action in get_args_parser()._actions for flag in action.option_strings]


def _seeds(config: DictConfig) -> list[int]:
    """The seeds that a config lists; none if it lists anything else, which whoever reads the config refuses."""
    found = OmegaConf.select(config, "seeds")
    seeds = list(found) if OmegaConf.is_list(found) else []
    return seeds if all(type(seed) is int and seed >= 0 for seed in seeds) else []


def _replicas(config: DictConfig, seeds: list[int], whole: Composed) -> Iterator[Composed]:
    """The config with each of these seeds. What the command line sets in vain, the first one is told alone."""
    for number, seed in enumerate(seeds):
        OmegaConf.update(config, "seed", seed)
        stages = {} if number else whole.overrides
        yield replace(_resolved(config, stages, whole.errors), values={"seed": str(seed)}, notes=whole.notes)


def _resolved(config: DictConfig, stages: dict[str, dict[str, str]], errors: list[str]) -> Composed:
    """A config as plain data; empty, with one error more, if an interpolation does not resolve."""
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        return Composed({}, stages, [*errors, f"{error.full_key}: {lines.one_line(error)}"])
    assert isinstance(plain, dict)
    return Composed({str(key): value for key, value in plain.items()}, stages, errors)


def _set(overrides: list[Override], key: str) -> list[str]:
    """The overrides that set a key."""
    return [str(override.input_line) for override in overrides if override.get_key_element().lstrip("+") == key]


def _beside(argument: str, seeds: list[int]) -> str:
    listed = ",".join(map(str, seeds))
    return f"{argument}: has no effect, since seeds=[{listed}]; set seeds, or 'seeds=[]' and seed"


def _own(config: DictConfig) -> DictConfig:
    """The config without Hydra's."""
    with open_dict(config):
        config.pop("hydra", None)
    return config


def _quoted(text: str) -> str:
    """A string as a value on Hydra's command line."""
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _told(overrides: list[Override]) -> list[str]:
    """What the sweeper is told before the command line: Optuna minimises, two at a time and by chance, if told nothing.

    With the study's seed the same command asks for the same members, and so continues.
    """
    chosen = {override.get_key_element(): override.value() for override in overrides}
    if chosen.get("hydra/sweeper") != "optuna":
        return []
    if importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        raise ConfigError(["hydra/sweeper=optuna: Optuna is not installed; pip install -e '.[optuna]'"])
    by_chance = chosen.get("hydra/sweeper/sampler") != "grid"
    seed = ["hydra.sweeper.sampler.seed=${seed}"] if by_chance else []
    return ["hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1", *seed]


def _stage_overrides(overrides: list[Override]) -> dict[str, dict[str, str]]:
    """The overrides of the form `stage.field=value`."""
    names = contract.names()
    found: dict[str, dict[str, str]] = {}
    for override in overrides:
        stage, _, name = override.key_or_group.partition(".")
        if stage in names and name:
            found.setdefault(stage, {})[name] = override.get_value_element_as_str()
    return found
