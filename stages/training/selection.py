"""Dynamic sampling (DAPO, arXiv 2503.14476): groups whose rewards are all equal have no gradient, and are replaced.

A rank fills its own places in the rollout: a problem whose group is dropped makes place for another one of the refill,
up to `max_draws` draws, in which all ranks take part. The refill of a rollout is a permutation of all problems but its
own, drawn from the seed and the number of the rollout, so that a run that goes on needs no state; which of it comes to
which place does not depend on the number of ranks. What is still without deviation at the end stays (verl stops there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.data.tokens import prompt_ids
from stages.generation.engine import Completion
from stages.training import grpo_problems, ranks

if TYPE_CHECKING:
    from stages.training.grpo_reward import Reward
    from stages.training.grpo_trainer import PolicyTrainer

Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """The completions of one problem, and their rewards."""

    row: Row
    completions: list[Completion]
    rewards: list[float]

    @property
    def deviates(self) -> bool:
        return max(self.rewards) > min(self.rewards)


class Selection:
    """Chooses the groups of each rollout, on each rank for itself."""

    def __init__(self, trainer: PolicyTrainer, problems: Sequence[Row], reward: Reward) -> None:
        """`problems` are all that may be trained on."""
        self._trainer = trainer
        self._problems = problems
        self._reward = reward
        self._groups: list[Group] = []

    def select(self, inputs: Sequence[Row]) -> list[Row]:
        """The rows to train on instead of this rank's `inputs`, as those with one row for each completion."""
        config = self._trainer.config
        groups = self._rolled(inputs[:: config.completions], draw=0)
        places = self._places()
        refill = [self._problems[number] for number in self._refill()]
        drawn = len(groups)
        empty = [place for place, group in enumerate(groups) if not group.deviates]
        dropped = len(empty)
        for draw in range(1, config.max_draws):
            if not refill or not ranks.anywhere(bool(empty))[0]:
                break
            at = (draw - 1) * config.prompts
            found = self._rolled([refill[(at + places[place]) % len(refill)] for place in empty], draw)
            for place, group in zip(empty, found, strict=True):
                groups[place] = group if group.deviates else groups[place]
            drawn += len(found)
            dropped += sum(not group.deviates for group in found)
            empty = [place for place in empty if not groups[place].deviates]
        self._groups = groups
        both = ranks.gathered([(dropped, drawn)])
        self._trainer._log_metric("dropped_groups", sum(each for each, _ in both) / sum(each for _, each in both))
        return [group.row for group in groups for _ in range(config.completions)]

    @property
    def completions(self) -> list[list[Completion]]:
        """Those of the groups that were chosen last."""
        return [group.completions for group in self._groups]

    @property
    def rewards(self) -> list[float]:
        """One for each of them."""
        return [reward for group in self._groups for reward in group.rewards]

    def _places(self) -> list[int]:
        """Of each group of this rank, which one of the rollout it is."""
        config, state = self._trainer.config, self._trainer.accelerator
        every = grpo_problems.arranged(range(config.prompts), config.mini_batch, state.num_processes)
        return list(ranks.share(every))

    def _refill(self) -> list[int]:
        """Numbers of the problems that replace others in this rollout, in order."""
        config = self._trainer.config
        rollout = self._trainer.state.global_step // config.steps_per_rollout
        return grpo_problems.refill(len(self._problems), config, rollout)

    def _rolled(self, rows: Sequence[Row], draw: int) -> list[Group]:
        """Groups for these rows, with their rewards. Every rank calls it, with or without rows."""
        trainer = self._trainer
        prompts = [prompt_ids(trainer.processing_class, row["prompt"]) for row in rows]
        found = trainer.sample(prompts, trainer.rollout_sampling(draw))
        if not rows:
            return []
        n = trainer.config.completions
        rewards = self._reward(
            completions=[completion.text for group in found for completion in group],
            answer=[row["answer"] for row in rows for _ in range(n)],
            log_metric=trainer._log_metric,
        )
        return [
            Group(row, group, rewards[n * i : n * (i + 1)])
            for i, (row, group) in enumerate(zip(rows, found, strict=True))
        ]
