"""Hydra's loader of configs, for many compositions in one process.

Each takes Hydra forty files to read and to merge, and a refusal or a sweep is many compositions of the same files.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

#: The scheme of configs in Python packages, which stay as they are while a process runs.
PACKAGE = "pkg"

#: What was read and merged, as pickles that no other process sees: one is loaded in an eighth of a deep copy's time.
_kept: dict[tuple[Any, ...], bytes] = {}


@contextlib.contextmanager
def initialized() -> Iterator[None]:
    """Hydra, for compositions of the configs in conf/ and of those on a command line's search path."""
    with hydra.initialize_config_module("conf", version_base="1.3"):
        application = GlobalHydra.instance().hydra
        assert application is not None
        application.config_loader = Loader(application.config_loader.get_search_path())
        yield


class Loader(ConfigLoaderImpl):
    """Keeps what the files of packages have, and what they merge to before a command line sets values."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.repository = _Repository(search_path)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        sources = [(source.scheme(), source.path) for source in repo.get_sources()]
        if any(scheme not in (PACKAGE, "structured") for scheme, _ in sources):
            return super()._compose_config_from_defaults_list(defaults, repo)
        key = (*sources, repr(defaults))
        if key not in _kept:
            _kept[key] = pickle.dumps(super()._compose_config_from_defaults_list(defaults, repo))
        found: DictConfig = pickle.loads(_kept[key])
        return found


class _Repository(ConfigRepository):
    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != PACKAGE:
            return super().load_config(config_path)
        key = (source.path, source.provider, config_path)
        if key not in _kept:
            _kept[key] = pickle.dumps(super().load_config(config_path))
        found: ConfigResult = pickle.loads(_kept[key])
        return found
