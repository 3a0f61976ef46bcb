"""The sweeper `grid`: Hydra's basic one, which first counts the members, and leaves composing them to the launcher.

The basic one composes every member to validate it, a tenth of a second each, and stops at the first that is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep

#: Members of a grid, at most: composing and planning so many takes half a minute.
MOST_MEMBERS = 2_000


@dataclass
class GridSweeperConfig(BasicSweeperConf):
    """`hydra/sweeper=grid`."""

    _target_: str = "hydra_plugins.orchestrator_sweep.sweeper.GridSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConfig, provider="orchestrator")


class GridSweeper(BasicSweeper):
    """All combinations of the values, in the order of the command line."""

    def sweep(self, arguments: list[str]) -> Any:
        """Refuse what has no members, too many or no end; then sweep."""
        from orchestrator.refusal import ConfigError  # here, as in the launcher

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        swept = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
        errors = [message for override in swept.values() for message in _refusal(override)]
        if errors:
            raise ConfigError(errors)
        counts = {key: _count(override) for key, override in swept.items()}
        if (members := math.prod(counts.values())) > MOST_MEMBERS:
            product = " x ".join(f"{count} ({key})" for key, count in counts.items())
            remedy = "sweep fewer values, or in parts: what parts share is computed once in any case"
            raise ConfigError([f"-m: {members} members = {product}; at most {MOST_MEMBERS}; {remedy}"])
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """The launcher composes every member, once, and says all that is wrong with any."""


def _refusal(override: Override) -> list[str]:
    """What is wrong with a sweep over one key."""
    if override.is_interval_sweep():
        return [f"{override.input_line}: a grid has no intervals; give values, or search with hydra/sweeper=optuna"]
    value = override.value()
    if isinstance(value, RangeSweep) and value.step == 0:
        return [f"{override.input_line}: a range with step 0 has no end"]
    if _count(override) == 0:
        return [f"{override.input_line}: no values, so the sweep has no members; give at least one"]
    return []


def _count(override: Override) -> int:
    """The number of values, without listing those of a range."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    assert value.start is not None and value.stop is not None
    span, step = Decimal(value.stop) - Decimal(value.start), Decimal(value.step)
    return max(0, math.ceil(span / step))
