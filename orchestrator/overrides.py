"""Overrides: the words of a command line as Hydra reads them, and why some of them do not compose.

Hydra is known here and in `orchestrator.config` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator import confusable, guard, yaml_file
from orchestrator.experiment import DATA
from orchestrator.refusal import ConfigError, instead
from orchestrator.values import SHOWN, shown

QUOTING = (
    """a value with other characters than A-Z a-z 0-9 / . _ - is quoted twice, once for the shell: 'base="/a=b,c"'"""
)


#: What a composition that fails raises; a ValueError comes of a group override that is null, an AssertionError of a key
#: below one that is null.
REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError, RecursionError, ValueError, AssertionError)

#: The key of Hydra's that says where else configs are looked for.
SEARCH_PATH = "hydra.searchpath"


def parse(arguments: list[str], *, several: bool = False) -> list[Override]:
    """The overrides of a command line.

    Raises:
        ConfigError: one is malformed, or has several values, or what it chooses is in a file that is no config.
    """
    parser = OverridesParser.create()
    overrides, errors = [], []
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
            if override.is_sweep_override() and not several:
                errors.append(f"{argument}: several values; one run takes one value; a sweep has -m, and {QUOTING}")
            errors += _twice(override)
            overrides.append(override)
        except (HydraException, ValueError, RecursionError):  # ValueError: a number of thousands of digits
            text = argument if len(argument) <= 2 * SHOWN else shown(argument)
            errors.append(f"{text}: not of the form key=value{confusable.said(argument)}; {QUOTING}")
    errors = errors or [*_chosen_twice(overrides), *_files(overrides)]
    if errors:
        raise ConfigError(errors)
    return overrides


def _chosen_twice(overrides: list[Override]) -> Iterator[str]:
    """Two options that are added to one group: Hydra takes none, and says so of whatever comes last."""
    first: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element().lstrip("+")
        if not override.is_add() or "." in key or "@" in key or not (Path(str(resources.files("conf"))) / key).is_dir():
            continue
        if key in first:
            both = f"a sweep over both has -m and +{key}=A,B" if key == "experiment" else "choose one"
            yield f"{override.input_line}: {first[key]} chooses {key} already; one command line has one; {both}"
        first.setdefault(key, str(override.input_line))


def _files(overrides: list[Override]) -> Iterator[str]:
    """What is wrong with the files that these overrides choose, and with the folders where they are looked for."""
    for folder in _search_path(overrides):
        plain = folder.removeprefix("file://")
        if not folder.startswith("pkg://") and not Path(plain).expanduser().is_dir():
            yield f"{SEARCH_PATH}={folder}: no such folder; allowed: file:///FOLDER or pkg://PACKAGE"
    folders = yaml_file.roots(_search_path(overrides))
    for override in overrides:
        if "." in override.key_or_group:
            continue
        for file in yaml_file.chosen(folders, override.key_or_group, _choices(override)):
            if (defect := yaml_file.defect(file)) is not None:
                yield f"{override.input_line}: {defect}"


def _search_path(overrides: Iterable[Override]) -> list[str]:
    """Where a command line says that configs are looked for too."""
    found = [each.value() for each in overrides if each.key_or_group == SEARCH_PATH and not each.is_sweep_override()]
    return [str(folder) for value in found if isinstance(value, list) for folder in value]


def _choices(override: Override) -> list[str]:
    """The options that an override may choose, if its key is that of a group."""
    if override.is_choice_sweep():
        values: list[Any] = list(override.sweep_string_iterator())
    else:  # a range or an interval is of numbers
        values = [] if override.is_sweep_override() else [override.value()]
    return [str(each) for value in values for each in (value if isinstance(value, list) else [value])]


def _twice(override: Override) -> list[str]:
    """What a list of names has more than once: Hydra would take it once, in silence."""
    value = None if override.is_sweep_override() else override.value()
    if not isinstance(value, list) or "." in override.key_or_group:
        return []
    names = [str(name) for name in value]
    if None in value and (Path(str(resources.files("conf"))) / override.key_or_group).is_dir():
        return [
            f"{override.input_line}: null is no name; allowed: names of conf/{override.key_or_group}, or [] for none"
        ]
    return [f"{override.input_line}: {name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]


def replacing(arguments: list[str], overrides: list[Override]) -> list[str]:
    """The arguments, a data source set anew where a mapping names the path of a file that the config has no place for.

    Hydra would keep what the mapping does not name: of data that a stage makes, its file and its columns.
    """
    one = {argument: each for argument, each in zip(arguments, overrides, strict=True) if not each.is_sweep_override()}
    mappings = {
        argument: (each.key_or_group, value)
        for argument, each in one.items()
        if each.key_or_group in DATA and each.type == OverrideType.CHANGE
        if isinstance(value := each.value(), dict) and not {"path", "hub"}.isdisjoint(map(str, value))
    }
    if not mappings:
        return arguments
    before = attempt(tuple(argument for argument in one if argument not in mappings))
    anew = {
        argument: [f"{key}=null"]
        for argument, (key, value) in mappings.items()
        if not {*map(str, value)} <= {*_siblings(before, key)}
    }
    return [each for argument in arguments for each in [*anew.get(argument, []), argument]]


#: What a command line composes to, or why it does not.
_Attempt = Callable[[tuple[str, ...]], DictConfig | Exception]


def attempt(arguments: tuple[str, ...]) -> DictConfig | Exception:
    try:
        return hydra.compose("config", overrides=list(arguments))
    except REFUSALS as error:
        return error


def explain(arguments: list[str], error: Exception) -> dict[str, str]:
    """Override -> message, for those that do not compose, each tried beside those that choose experiment and groups.

    `error` is what was raised; it is the message where each composes, and the whole is of no use all the same.
    """
    attempted = cache(attempt)  # one refusal takes several looks at the same command line
    places = [each for each in arguments if each.lstrip("+").startswith(f"{SEARCH_PATH}=")]
    groups = [*places]
    groups += [each for each in arguments if "." not in each.split("=")[0] and not _fails([*places, each], attempted)]
    others = [argument for argument in arguments if argument not in groups]
    errors = {argument: message for argument in others if (message := _fails([*groups, argument], attempted))}
    if errors:
        return errors
    arguments = [*places, *(argument for argument in arguments if argument not in places)]
    for number in range(1, len(arguments) + 1):  # the first that does not go with those before it
        if message := _fails(arguments[:number], attempted):
            return {arguments[number - 1]: message}
    return {arguments[-1]: _fails(arguments, attempted) or f"{arguments[-1]}: {one_line(error)}"}


def _fails(arguments: list[str], attempted: _Attempt) -> str | None:
    """The message of a composition that fails because of its last argument."""
    error = attempted(tuple(arguments))
    if not isinstance(error, Exception):
        return None
    last = arguments[-1]
    if isinstance(error, yaml.YAMLError):
        return f"{last}: {yaml_file.said(error)}"
    if isinstance(error, UnicodeDecodeError | RecursionError):
        return f"{last}: {_defect(arguments) or one_line(error)}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(arguments, error.missing_cfg_file)
    return _no_place(arguments, error, attempted)


def _no_place(arguments: list[str], error: Exception, attempted: _Attempt) -> str:
    """Why the config has no place for the last argument."""
    last = arguments[-1]
    key, _, value = last.partition("=")
    plain = key.lstrip("+~")
    parent, _, name = plain.rpartition(".")
    if is_group(key) and not key.startswith(("+", "~")) and "No match in the defaults list" in str(error):
        return f"{last}: no {plain} is chosen yet that it could replace; say so: '+{last}'"
    before = None if is_group(key) else attempted(tuple(arguments[:-1]))
    if isinstance(error, AssertionError) or (parent and _select(before, parent) is None):
        return f"{last}: {parent} is null and has no keys yet; set all of it: '{parent}={{{name}:...}}'"
    if (unknown := _unknown_parent(before, parent)) is not None:
        return f"{last}: {unknown}"
    siblings = _siblings(before, parent)
    if name in siblings:
        if key[0] == "+" and "An item is already at" in str(error):
            return f"{last}: {plain} is there already; set it without +: '{plain}={value}'"
        if key[0] not in "+~" and not _fails([*arguments[:-1], f"+{last}"], attempted):
            return f"{last}: adds what is not there; say so: '+{last}'"
        if "Error merging" in str(error) or "Cannot merge" in str(error):
            kind = "list" if OmegaConf.is_list(_select(before, plain)) else "mapping"
            return f"{last}: the config has a {kind} here, and this is none; allowed: a {kind}"
    elif siblings and not key.startswith("+"):
        return f"{last}: no such key{instead(name, siblings)}"
    elsewhere = yaml_file.options(yaml_file.roots(_search_path(_parsed(arguments))), plain) if is_group(key) else []
    known = sorted({*_options(plain), *elsewhere}) if is_group(key) else []
    if known and value not in known:
        return f"{last}: no such {plain}{instead(value, known)}"
    return f"{last}: {one_line(error)}"


def _unknown_parent(before: object, parent: str) -> str | None:
    """The first part of a key that a config does not have."""
    parts = parent.split(".") if parent else []
    for number, part in enumerate(parts):
        siblings = _siblings(before, ".".join(parts[:number]))
        if siblings and part not in siblings:
            return f"no such key {'.'.join(parts[: number + 1])!r}{instead(part, siblings)}"
    return None


def _missing(arguments: list[str], missing: str) -> str:
    """The message about a config file that is not there: an override chooses it, or the file that this chooses does."""
    last, folders = arguments[-1], yaml_file.roots(_search_path(_parsed(arguments)))
    group, _, name = missing.rpartition("/")
    known = yaml_file.options(folders, group) or _options(group)
    what = f"no such {group}{instead(name, known)}" if known else f"no such group of configs{_other_group(group)}"
    own = last.partition("=")[0].lstrip("+~")
    if group == own.partition("@")[0] and name in [choice for each in _parsed([last]) for choice in _choices(each)]:
        return f"{last}: {what}"
    return f"{last}: its file, or one that it starts from, names {group}={name}: {what}"


def _other_group(group: str) -> str:
    return instead(group, [folder.name for folder in Path(str(resources.files("conf"))).iterdir() if folder.is_dir()])


def _options(group: str) -> list[str]:
    """The options of a group of Hydra's own."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


def _defect(arguments: list[str]) -> str | None:
    """What is wrong with a config file that this command line may have met, on its search path or among our own."""
    folders = yaml_file.roots(_search_path(_parsed(arguments)))
    files = (file for folder in reversed(folders) for file in sorted(folder.rglob("*.yaml")))
    return next((defect for file in files if (defect := yaml_file.defect(file)) is not None), None)


def _parsed(arguments: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(arguments))


def _siblings(config: object, parent: str) -> list[str]:
    """The keys that a config has in `parent`."""
    found = _select(config, parent)
    return [str(name) for name in found] if OmegaConf.is_dict(found) else []


def _select(config: object, key: str) -> Any:
    """What a config has at a key: its whole at none, and no keys where nothing is, or no config."""
    try:
        return OmegaConf.select(config, key, default="") if isinstance(config, DictConfig) else ""
    except REFUSALS:
        return ""


def files(arguments: list[str]) -> list[Path]:
    """The files that a command line composes a config from, as far as they are files."""
    loader = GlobalHydra.instance().config_loader()
    chosen = loader.compute_defaults_list("config", arguments, RunMode.RUN).defaults
    folders = yaml_file.roots(_search_path(_parsed(arguments)))
    every = (folder / f"{each.config_path}.yaml" for each in chosen if each.config_path for folder in folders)
    return [file for file in every if file.is_file()]


def is_group(key: str) -> bool:
    """Whether the key of an override chooses an option of a group (`+experiment`, `cluster`, `hydra/sweeper`)."""
    parent, _, name = key.lstrip("+~").rpartition("/")
    return name in GlobalHydra.instance().config_loader().list_groups(parent)


def one_line(error: Exception) -> str:
    return " ".join(guard.meant(error).split())
