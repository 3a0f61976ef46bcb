"""What transformers makes of the files of a tokenizer, without loading it: its tokens, and which of them end or pad.

As transformers 5 reads them: tokenizer.json has the vocabulary and added tokens; tokenizer_config.json names eos and
pad and may add tokens; where it has no `added_tokens_decoder`, special_tokens_map.json and added_tokens.json count too.
A special token that is in none of them becomes a new one, behind all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.jsonfile import object_in

WHOLE, SETTINGS = "tokenizer.json", "tokenizer_config.json"

#: The files, the one with the vocabulary first.
FILES = (WHOLE, SETTINGS, "special_tokens_map.json", "added_tokens.json")

#: Special tokens, in the order in which those that are new get their ids.
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

#: Classes that have no special tokens of their own: what the files do not name, they do not have.
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What is known of a tokenizer.

    Attributes:
        learned: the largest id of its vocabulary, None if that is not known.
        added: tokens that were added to it -> id.
        eos, pad: the tokens that end and pad, None for none, or none that is known.
        ids: of those two, where they are known: token -> id.
        plain: whether what the files do not name does not exist.
    """

    learned: int | None
    added: Mapping[str, int]
    eos: str | None
    pad: str | None
    ids: Mapping[str, int]
    plain: bool


def read(folder: Path) -> TokenizerFiles:
    """What the files in a folder say; what cannot be read says nothing."""
    whole, settings = object_in(folder / WHOLE), object_in(folder / SETTINGS)
    older = "added_tokens_decoder" not in settings
    named = settings | (object_in(folder / FILES[2]) if older else {})
    added = dict(_added(whole.get("added_tokens"), settings.get("added_tokens_decoder")))
    if older:
        added |= {text: id for text, id in object_in(folder / FILES[3]).items() if _is_id(id)}
    vocabulary = _vocabulary(whole)
    learned = max(vocabulary.values(), default=None)
    known = vocabulary | added
    special = {name: _text(named.get(name)) for name in _SPECIAL}
    if known:
        following = max(known.values()) + 1
        for text in special.values():
            if text is not None and text not in known:
                known[text], following = following, following + 1
    ends = [text for text in (special["eos_token"], special["pad_token"]) if text is not None]
    return TokenizerFiles(
        learned=learned,
        added=added,
        eos=special["eos_token"],
        pad=special["pad_token"],
        ids={text: known[text] for text in ends if text in known},
        plain=bool(whole) and settings.get("tokenizer_class") in _PLAIN,
    )


def _vocabulary(whole: Mapping[str, Any]) -> dict[str, int]:
    """Token -> id, of a vocabulary that is an object, or a list whose places are the ids (unigram)."""
    model = whole.get("model")
    found = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(found, dict):
        return {text: id for text, id in found.items() if _is_id(id)}
    if isinstance(found, list):
        return {str(each[0]) if isinstance(each, list) and each else str(id): id for id, each in enumerate(found)}
    return {}


def _added(listed: Any, numbered: Any) -> Iterator[tuple[str, int]]:
    tokens = list(listed) if isinstance(listed, list) else []
    for id, each in numbered.items() if isinstance(numbered, dict) else ():
        tokens += [{**each, "id": int(id)}] if isinstance(each, dict) and id.isdigit() else []
    for each in tokens:
        if isinstance(each, dict) and _is_id(each.get("id")) and isinstance(each.get("content"), str):
            yield each["content"], each["id"]


def _text(value: Any) -> str | None:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
