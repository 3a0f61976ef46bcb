"""Composing the config: the only file that knows Hydra.

`compose` turns the command line into plain data. Everything else that Hydra can do (`--help`, `--cfg job`, `--info`,
tab completion) is Hydra's own application, reached through `hydra_app`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.experiment import ConfigError
from stages import contract

QUOTING = """a value with = , : or spaces is quoted twice, once for the shell: 'base="/data/a=b,c"'"""


def compose(arguments: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The composed config, and what the command line itself sets: stage -> field -> text.

    Raises:
        ConfigError: with every override that is malformed or does not fit the config.
    """
    overrides = _parse(arguments)
    with hydra.initialize_config_module("conf", version_base="1.3"):
        try:
            config = hydra.compose("config", overrides=arguments)
        except HydraException:
            raise ConfigError(_explain(arguments)) from None
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {_first_line(error)}"]) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}, _stage_overrides(overrides)


def hydra_app(arguments: list[str], run: Callable[[Any], None]) -> None:
    """Run Hydra's own application on `arguments`: its help, its views of the config, its completion."""
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")(run)()


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


def _explain(arguments: list[str]) -> list[str]:
    """Which overrides do not compose, each tried alone beside those that choose the experiment and the groups."""
    groups = [argument for argument in arguments if "." not in argument.split("=")[0] and not _fails([argument])]
    errors = [message for argument in arguments if (message := _fails([*groups, argument]))]
    return list(dict.fromkeys(errors)) or [str(_fails(arguments))]


def _fails(arguments: list[str]) -> str | None:
    """The message of a composition that fails, naming its last argument."""
    try:
        hydra.compose("config", overrides=arguments)
    except HydraException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        keep = [line for line in lines if not line.startswith(("set HYDRA", "To append", "Key '", "full_key"))]
        keys = [line for line in lines if line.startswith("Key '")]
        return f"{arguments[-1]}: {' '.join(keys[:1] or keep).rstrip('.')}"
    return None


def _stage_overrides(overrides: list[Override]) -> dict[str, dict[str, str]]:
    """The overrides of the form `stage.field=value`."""
    names = contract.names()
    found: dict[str, dict[str, str]] = {}
    for override in overrides:
        stage, _, name = override.key_or_group.partition(".")
        if stage in names and name:
            found.setdefault(stage, {})[name] = override.get_value_element_as_str()
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
