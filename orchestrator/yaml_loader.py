"""The loader that Hydra reads YAML with: OmegaConf's, its scanner and parser libyaml's, which take a tenth of the time.

A file that libyaml refuses is read again by PyYAML's own parser: that one decides, and says what is wrong and where.
Either refuses a file of a few lines whose anchors expand to what no memory holds.
"""

from __future__ import annotations

from typing import IO, Any

import yaml
from omegaconf import _utils
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

#: Values that the anchors of a file may expand to.
MOST = 100_000


class TooLarge(yaml.MarkedYAMLError):  # type: ignore[misc]
    """The anchors of a file expand to more values than any config has."""


def bound(root: yaml.Node) -> None:
    """Refuse a document that is too large with every anchor written out.

    Raises:
        TooLarge: it is.
        RecursionError: an anchor contains itself.
    """
    size = _size(root, {}, set())
    if size > MOST:
        problem = f"its anchors expand to {size:,} values; allowed: at most {MOST:,}"
        raise TooLarge(problem=problem, problem_mark=root.start_mark)


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Values below a node, with every anchor written out."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in above:
        raise RecursionError
    if id(node) not in known:
        parts = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        above.add(id(node))
        known[id(node)] = 1 + sum(_size(each, known, above) for each in parts)
        above.remove(id(node))
    return known[id(node)]


class PlainLoader(_utils.get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's loader, all of it Python."""

    def get_single_data(self) -> Any:
        root = self.get_single_node()
        if root is None:
            return None
        bound(root)
        return self.construct_document(root)


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
            except TooLarge:
                raise
            except yaml.YAMLError:
                if not isinstance(self._read, str):
                    self._read.seek(0)
                return yaml.load(self._read, Loader=PlainLoader)  # OmegaConf's is a safe loader

else:
    Loader = PlainLoader  # type: ignore[misc]


def install() -> None:
    """Have OmegaConf, and so Hydra, read with it; OmegaConf offers no other way to choose a loader."""
    _utils.get_yaml_loader = lambda: Loader
