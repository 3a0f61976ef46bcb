"""The loader that Hydra reads YAML with: OmegaConf's, its scanner and parser libyaml's, which take a tenth of the time.

A file that libyaml refuses is read again by PyYAML's own parser: that one decides, and says what is wrong and where.
"""

from __future__ import annotations

from typing import IO, Any

import yaml
from omegaconf import _utils
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

#: OmegaConf's loader, all of it Python.
PlainLoader: type[yaml.SafeLoader] = _utils.get_yaml_loader()

if yaml.__with_libyaml__:
    from yaml.cyaml import CParser

    class Loader(CParser, PlainLoader):  # type: ignore[misc]
        """Reads a document to the same value as `PlainLoader`, or raises what that raises."""

        def __init__(self, stream: str | IO[str]) -> None:
            CParser.__init__(self, stream)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)
            self._read = stream

        def get_single_data(self) -> Any:
            try:
                return super().get_single_data()
            except yaml.YAMLError:
                if not isinstance(self._read, str):
                    self._read.seek(0)
                return yaml.load(self._read, Loader=PlainLoader)  # OmegaConf's is a safe loader

else:
    Loader = PlainLoader  # type: ignore[misc]


def install() -> None:
    """Have OmegaConf, and so Hydra, read with it; OmegaConf offers no other way to choose a loader."""
    _utils.get_yaml_loader = lambda: Loader
