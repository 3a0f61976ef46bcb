"""A guard around Hydra: a config is data, which reads no secret of the environment and names no code that is called.

Hydra and OmegaConf are known here too. What composes a config calls `up` first; it holds for the whole process.

OmegaConf's resolvers read nothing but the config and, with `oc.env`, the environment; its YAML makes no objects. Hydra
calls what `_target_` names below `hydra` (callbacks, a launcher, a sweeper), and what a set-up of logging does.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from launch import credentials
from orchestrator.refusal import ConfigError
from orchestrator.values import shown

#: Keys below `hydra` whose value says what is called: by Hydra, by the set-up of logging, by the sweeper of Optuna.
_CALLED = ("_target_", "()", "class", "custom_search_space")

#: Set-ups of logging, which may open files; and the classes that Hydra's own name.
_LOGGING = ("hydra_logging", "job_logging")
_HANDLERS = {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "colorlog.ColoredFormatter"}

_ALLOWED = "allowed: what an installed plugin of Hydra registers, or what the command line names itself"


class Secret(Exception):
    """A config asks for a variable of the environment whose name says that it is secret."""

    def __init__(self, variable: str) -> None:
        where = "no config needs it: what uses a key reads it in its job, from the environment; leave it out"
        super().__init__(f"${{oc.env:{variable}}}: the name of this variable says that it holds a secret; {where}")


@functools.cache
def up() -> None:
    """Set the guard up."""
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)
    load = ConfigLoaderImpl.load_configuration

    @functools.wraps(load)
    def checked(*arguments: Any, **named: Any) -> Any:
        found = load(*arguments, **named)
        if errors := list(_errors(found)):
            raise ConfigError(errors)
        return found

    setattr(ConfigLoaderImpl, "load_configuration", checked)  # noqa: B010  # a method, for mypy


def meant(error: Exception) -> str:
    """What an error of OmegaConf says: of a secret that a config asked for, that alone."""
    text = str(error)
    _, asked, secret = text.partition(f"{Secret.__name__} raised while resolving interpolation: ")
    return secret.partition("\n")[0] if asked else text


def _variable(*arguments: Any) -> str | None:
    """`oc.env`, but for names of secrets: whether they are set or not, and whatever the default is."""
    if arguments and credentials.is_secret(str(arguments[0])):
        raise Secret(str(arguments[0]))
    return oc.env(*arguments)


def _errors(config: Any) -> Iterator[str]:
    """What a composed config names to be called that nobody has installed for that, nor typed."""
    own: Any = OmegaConf.to_container(config.hydra, resolve=False)
    typed = {word for each in own["overrides"]["hydra"] for word in re.split(r"[^\w./-]+", each)}
    called = [(key, text) for key, text in _found(own, "hydra") if text not in typed]
    known = _HANDLERS.union(text for _, text in registered()) if called else set()
    for key, text in called:
        if text not in known:
            yield f"{key}={shown(text)}: a config is data, and this names code to run; {_ALLOWED}"
    for key in _elsewhere(config.hydra, "hydra"):
        yield f"{key}: a mapping that lies elsewhere, which may name code to run; write it here"
    for name in _LOGGING:
        if own[name].get("handlers") and f"hydra/{name}" not in typed:
            yield f"hydra.{name}.handlers: a config is data, and this opens files; choose hydra/{name}=NAME yourself"


def _found(plain: Any, key: str) -> Iterator[tuple[str, str]]:
    """(Key, text) of all that is called."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for name, value in items:
        if name in _CALLED and value not in (None, "???"):
            yield f"{key}.{name}", str(value)
        yield from _found(value, f"{key}.{name}")


def _elsewhere(node: Any, key: str) -> Iterator[str]:
    """The keys whose value is a mapping or a list of another place, by an interpolation."""
    for name in node if OmegaConf.is_dict(node) else range(len(node)):
        if OmegaConf.is_interpolation(node, name):
            with contextlib.suppress(OmegaConfBaseException, ValueError):  # it is of a run, which there is none yet
                if OmegaConf.is_config(node[name]):
                    yield f"{key}.{name}"
        elif not OmegaConf.is_missing(node, name) and OmegaConf.is_config(node[name]):
            yield from _elsewhere(node[name], f"{key}.{name}")


def registered() -> Iterator[tuple[str, str]]:
    """(Key, text) of all that plugins have registered to be called."""
    for name, entry in ConfigStore.instance().repo.get("hydra", {}).items():
        yield from _below(entry, name)


def _below(entry: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(entry, dict):
        for name, each in entry.items():
            yield from _below(each, f"{key}.{name}")
    elif OmegaConf.is_config(entry.node):
        yield from _found(OmegaConf.to_container(entry.node, resolve=False), key)
