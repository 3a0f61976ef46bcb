"""Whether a base and a checkpoint have one tokenizer: only then is a token the same row in both of their embeddings."""

from __future__ import annotations

import filecmp
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stages.contract import Input
from stages.modeling import checkpoint as checkpoints

#: What a fast tokenizer is loaded from; the first of them is there in any case.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


def same_files(base: Path, checkpoint: Path) -> bool:
    """Whether both have the same files of a fast tokenizer, byte for byte: then nothing in them needs a look."""
    names = [name for name in _TOKENIZER if (base / name).exists() or (checkpoint / name).exists()]
    return _TOKENIZER[0] in names and filecmp.cmpfiles(base, checkpoint, names, shallow=False)[0] == names


def differences(base: Input, checkpoint: Input) -> list[str]:
    """Tokenizers match when vocabulary, merges and special ids do: what does not, one message each."""
    return _compared(_Tokenizer.of(base), _Tokenizer.of(checkpoint))


@dataclass(frozen=True)
class _Tokenizer:
    """What has to be equal, taken out of one tokenizer after the other: two large ones need not fit in memory."""

    vocabulary: dict[str, int]
    merges: bytes
    special: dict[str, int | None]

    @staticmethod
    def of(source: Input) -> _Tokenizer:
        tokenizer = checkpoints.load_tokenizer(source)
        special = {name: getattr(tokenizer, name) for name in _SPECIAL}
        return _Tokenizer(tokenizer.get_vocab(), _merges(tokenizer), special)


def _merges(tokenizer: PreTrainedTokenizerBase) -> bytes:
    """A digest of the merges of a BPE tokenizer: only its serialised form has them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    merges = None if backend is None else json.loads(backend.to_str())["model"].get("merges")
    return hashlib.sha256(json.dumps(merges).encode()).digest()


def _compared(base: _Tokenizer, checkpoint: _Tokenizer) -> list[str]:
    problems = []
    ours, theirs = base.vocabulary, checkpoint.vocabulary
    if ours != theirs:
        tokens = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
        first = ", ".join(f"{token!r} ({ours.get(token)}, {theirs.get(token)})" for token in tokens[:3])
        problems.append(
            f"tokenizer: {len(tokens)} tokens have other ids in the base ({len(ours)} tokens) than in the checkpoint "
            f"({len(theirs)} tokens), first: {first}"
        )
    if base.merges != checkpoint.merges:
        problems.append("tokenizer: the merges of the base differ from those of the checkpoint")
    for name in _SPECIAL:
        if base.special[name] != checkpoint.special[name]:
            ids = f"{base.special[name]} in the base, {checkpoint.special[name]} in the checkpoint"
            problems.append(f"tokenizer: {name} is {ids}")
    return problems
