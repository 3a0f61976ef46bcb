"""The prompts of a benchmark for one model: as token ids, with as many worked examples as fit into its positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from stages import prompts
from stages.contract import StageError
from stages.data.tokens import prompt_ids
from stages.evaluate import Config
from stages.problems import Problem, listed


@dataclass(frozen=True)
class Prompt:
    """A prompt, its token ids, and how many worked examples it has."""

    text: str
    ids: list[int]
    shots: int


def prompts_of(
    problems: Sequence[Problem],
    examples: Sequence[Mapping[str, Any]],
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    positions: int,
) -> list[Prompt]:
    """The prompts of all problems.

    Worked examples are dropped, the last first, until prompt and `max_new_tokens` are shorter than the positions
    (MMLU-Pro's evaluate_from_local.py). Nothing else is: a prompt is never cut.

    Raises:
        StageError: prompts without any example leave no room for one token; it counts them.
    """
    found = [_prompt(problem, examples, config, tokenizer, positions) for problem in problems]
    long = {problem.id: len(p.ids) for problem, p in zip(problems, found, strict=True) if len(p.ids) >= positions}
    if long:
        raise StageError(
            f"{len(long)} of {len(found)} prompts do not fit into the model's {positions} positions; "
            f"the longest has {max(long.values())} tokens; problems {listed(long)}"
        )
    return found


def _prompt(
    problem: Problem,
    examples: Sequence[Mapping[str, Any]],
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    positions: int,
) -> Prompt:
    shots = prompts.shots_of(problem, examples, config.shots)
    while True:
        text = prompts.render(config.template, problem, shots)
        ids = prompt_ids(tokenizer, text)
        if not shots or len(ids) + config.max_new_tokens < positions:
            return Prompt(text, ids, len(shots))
        shots = shots[:-1]
