"""The calibration set: prompts with completions, as the token ids that both models are teacher-forced on."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from stages import rows
from stages.contract import Input, StageError
from stages.data.tokens import Sequence, sequence
from stages.rejuvenation.compatibility import Pair


def load(source: Input, pair: Pair, samples: int, *, key: str = "attribute.samples") -> list[Sequence]:
    """The first `samples` rows in file order, in the checkpoint's tokens. `key`: where the user said how many.

    Raises:
        StageError: fewer rows, a row longer than the model's positions, a token without an embedding, no response.
    """
    found = rows.load(source, limit=samples)
    name = source.path or source.hub
    if len(found) < samples:
        raise StageError(f"{key}: {samples}, but {name} has only {len(found)} rows")
    sequences = [_tokens(pair.tokenizer, row) for row in found]
    problems = []
    for number, item in enumerate(sequences, start=1):
        problems += [f"{name}, row {number}: {problem}" for problem in _problems(item, pair)]
    if not any(candidates(item) for item in sequences):
        problems.append(f"{name}: no response token that a model could predict")
    if problems:
        raise StageError("\n".join(problems))
    return sequences


def candidates(item: Sequence) -> list[int]:
    """Positions t that predict a response token x_{t+1}, the eos included, in ascending order."""
    return [t for t in range(len(item.input_ids) - 1) if item.response_mask[t + 1]]


def _tokens(tokenizer: PreTrainedTokenizerBase, row: dict[str, str]) -> Sequence:
    return sequence(tokenizer, row["prompt"], row["completion"])


def _problems(item: Sequence, pair: Pair) -> list[str]:
    length, positions = len(item.input_ids), pair.config.max_position_embeddings
    problems = []
    if length > positions:
        problems.append(f"{length} tokens, more than the model's {positions} positions")
    if max(item.input_ids) >= pair.config.vocab_size:
        problems.append(f"token {max(item.input_ids)} has no embedding (vocab_size {pair.config.vocab_size})")
    return problems
