"""The one tokenisation: SFT, attribution, GRPO and evaluation all get their token ids from here, never strings.

    tokenizer(prompt) + tokenizer(completion) + eos

both without special tokens, so no BOS appears anywhere, and one eos at the end unless the completion has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sequence:
    """Token ids of a prompt and its completion; `response_mask[i]` is 1 where `input_ids[i]` is a response token."""

    input_ids: list[int]
    response_mask: list[int]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt alone, as a rollout or an evaluation starts from."""
    ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids


def sequence(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> Sequence:
    """Token ids of a prompt followed by its completion and one eos."""
    before = prompt_ids(tokenizer, prompt)
    after = prompt_ids(tokenizer, completion)
    if not after or after[-1] != tokenizer.eos_token_id:
        after = [*after, tokenizer.eos_token_id]
    return Sequence(input_ids=before + after, response_mask=[0] * len(before) + [1] * len(after))
