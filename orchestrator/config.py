"""Composing the config: the only file that knows Hydra.

`compose` turns the command line into plain data. Everything else that Hydra can do (`--help`, `--cfg job`, `--info`,
tab completion) is Hydra's own application, reached through `hydra_app`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.experiment import ConfigError, instead
from stages import contract

QUOTING = (
    """a value with other characters than A-Z a-z 0-9 / . _ - is quoted twice, once for the shell: 'base="/a=b,c"'"""
)


#: What a composition that fails raises; a ValueError comes of a group override that is null.
_REFUSALS = (HydraException, OmegaConfBaseException, ValueError)


@dataclass(frozen=True)
class Composed:
    """A composed config as plain data.

    Attributes:
        config: the config, interpolations resolved.
        overrides: what the command line itself sets of the stages: stage -> field -> text.
        errors: one message for each override that does not fit; `config` is composed without those.
    """

    config: dict[str, Any]
    overrides: dict[str, dict[str, str]]
    errors: list[str]


def compose(arguments: list[str]) -> Composed:
    """Compose the config of a command line.

    Raises:
        ConfigError: an override is malformed, or chooses an experiment or a group option that does not exist.
    """
    overrides = _parse(arguments)
    with hydra.initialize_config_module("conf", version_base="1.3"):
        try:
            config, errors = hydra.compose("config", overrides=arguments), {}
        except _REFUSALS:
            errors = _explain(arguments)
            if any(_is_group(argument.split("=")[0]) for argument in errors):
                raise ConfigError(errors.values()) from None
            try:
                config = hydra.compose("config", overrides=[each for each in arguments if each not in errors])
            except _REFUSALS:
                raise ConfigError(errors.values()) from None
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error).splitlines()[0]}"]) from None
    assert isinstance(plain, dict)
    return Composed(
        {str(key): value for key, value in plain.items()}, _stage_overrides(overrides), list(errors.values())
    )


def hydra_app(arguments: list[str]) -> None:
    """Run Hydra's own application on `arguments`: its help, its views of the config, its completion."""
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")(lambda composed: None)()


def _parse(arguments: list[str]) -> list[Override]:
    parser = OverridesParser.create()
    overrides, errors = [], []
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
            if override.is_sweep_override():
                errors.append(f"{argument}: several values; one run takes one value, and {QUOTING}")
            overrides.append(override)
        except HydraException:
            errors.append(f"{argument}: not of the form key=value; {QUOTING}")
    if errors:
        raise ConfigError(errors)
    return overrides


def _explain(arguments: list[str]) -> dict[str, str]:
    """Override -> message, for those that do not compose, each tried beside those that choose experiment and groups."""
    groups = [argument for argument in arguments if "." not in argument.split("=")[0] and not _fails([argument])]
    others = [argument for argument in arguments if argument not in groups]
    errors = {argument: message for argument in others if (message := _fails([*groups, argument]))}
    return errors or {arguments[-1]: str(_fails(arguments))}


def _fails(arguments: list[str]) -> str | None:
    """The message of a composition that fails because of its last argument."""
    try:
        hydra.compose("config", overrides=arguments)
    except _REFUSALS as error:
        key = arguments[-1].split("=")[0]
        siblings = _siblings(arguments[:-1], key)
        if siblings:
            return f"{arguments[-1]}: no such key{instead(key.rpartition('.')[2], siblings)}"
        options = GlobalHydra.instance().config_loader().get_group_options(key.lstrip("+~")) if _is_group(key) else []
        choice = arguments[-1].partition("=")[2]
        if options and choice not in options:
            return f"{arguments[-1]}: no such {key.lstrip('+~')}{instead(choice, options)}"
        return f"{arguments[-1]}: {' '.join(str(error).split())}"
    return None


def _siblings(arguments: list[str], key: str) -> list[str]:
    """The keys that the config has where `key` would be; none if `key` chooses an option of a group."""
    if _is_group(key):
        return []
    try:
        parent = OmegaConf.select(hydra.compose("config", overrides=arguments), key.rpartition(".")[0] or "")
    except _REFUSALS:
        return []
    return [str(name) for name in parent] if OmegaConf.is_dict(parent) else []


def _is_group(key: str) -> bool:
    """Whether the key of an override chooses an option of a folder in conf/ (`+experiment`, `cluster`)."""
    return key.lstrip("+~") in GlobalHydra.instance().config_loader().list_groups("")


def _stage_overrides(overrides: list[Override]) -> dict[str, dict[str, str]]:
    """The overrides of the form `stage.field=value`."""
    names = contract.names()
    found: dict[str, dict[str, str]] = {}
    for override in overrides:
        stage, _, name = override.key_or_group.partition(".")
        if stage in names and name:
            found.setdefault(stage, {})[name] = override.get_value_element_as_str()
    return found
