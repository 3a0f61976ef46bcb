"""Code that a checkpoint asks for, in its own files or on the hub: it is never run.

transformers runs such code where `trust_remote_code` lets it, and asks a person where nobody said. Everything here says
no: a model that transformers knows by itself is read without that code, any other is refused.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.contract import StageError
from stages.jsonfile import object_in

#: A file -> the entries of its `auto_map` that are asked for, and the field that names what transformers may know.
_ASKED = {
    "config.json": (("AutoConfig", "AutoModelForCausalLM"), "model_type"),
    "tokenizer_config.json": (("AutoTokenizer",), "tokenizer_class"),
}

#: Characters of a wrong value that are shown.
_SHOWN = 80

#: What is in the names of the fields that say which kernel computes a part of a model.
_KERNEL = "_implementation"

#: The families of which transformers knows that their files name a wrong tokenizer.
_CORRECTED = re.compile(r"^MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS\b[^{]*\{([^}]*)\}", re.MULTILINE)


def refuse(folder: Path) -> None:
    """Refuse a checkpoint that cannot be read without code that it asks for.

    Raises:
        StageError: with the file, the code and the reason.
    """
    for name in _ASKED:
        settings = object_in(folder / name)
        if "auto_map" in settings and not _legible(settings["auto_map"], name):
            shown = repr(settings["auto_map"])[:_SHOWN]
            raise StageError(f"{folder / name}: auto_map={shown}; expected names of classes; take it out")
    for name, code, field, known in _wanted(folder):
        if not known:
            raise StageError(
                f"{folder / name}: asks for code of its own (auto_map: {code}), which is never run here; transformers "
                f"has no {field} that does without it. Take a model of a family that transformers has"
            )
    for field, value in _kernels(object_in(folder / "config.json")):
        raise StageError(
            f"{folder / 'config.json'}: {field}={value!r} names code on the hub, which is never run here; take it out"
        )


def ignored(folder: Path) -> str:
    """Which code a checkpoint asks for that it is read without; empty where there is none."""
    found = [f"{name}: {code}" for name, code, _, known in _wanted(folder) if known]
    return f"asks for code of its own ({'; '.join(found)}), which is not run: transformers has its own" if found else ""


def _wanted(folder: Path) -> Iterator[tuple[str, str, str, bool]]:
    """The files that ask for code, that code, the field that says for what, and whether transformers knows that."""
    family = object_in(folder / "config.json").get("model_type")
    for name, (entries, field) in _ASKED.items():
        settings = object_in(folder / name)
        asked = settings.get("auto_map")
        if isinstance(asked, list):  # of a tokenizer, as older releases wrote it
            asked = {"AutoTokenizer": asked}
        code = [each for entry in entries for each in _listed(asked.get(entry))] if isinstance(asked, Mapping) else []
        if code:
            given = settings.get(field, family)
            known = _native(given) or (field == "tokenizer_class" and _has_tokenizer(family))
            yield name, ", ".join(dict.fromkeys(code)), f"{field} {given!r}", known


def _legible(asked: Any, name: str) -> bool:
    """Whether transformers can read an `auto_map`: it takes for granted that it can."""
    each = [*asked.values()] if isinstance(asked, dict) else [asked]
    pairs = [one if isinstance(one, list) else [one] for one in each]
    names = all(isinstance(one, str | None) for pair in pairs for one in pair) and all(any(pair) for pair in pairs)
    return names and (isinstance(asked, dict) or (isinstance(asked, list) and name == "tokenizer_config.json"))


def _listed(asked: Any) -> list[str]:
    """`modeling_x.Model`, or a pair of which one may be null."""
    return [str(each) for each in (asked if isinstance(asked, list) else [asked]) if each is not None]


def _native(name: Any) -> bool:
    """Whether transformers has a family or a tokenizer of that name; where it is not installed, it may have it."""
    tables = _names()
    return not tables or any(f'"{one}"' in tables for one in (name, f"{name}Fast"))


def _has_tokenizer(family: Any) -> bool:
    """Whether transformers takes its own tokenizer for a family, whichever its files name."""
    found = _CORRECTED.search(_names())
    return found is None or f'"{family}"' in found[1]


@functools.cache
def _names() -> str:
    """The tables of transformers' auto classes, as text: to import them takes seconds, and loads torch."""
    found = importlib.util.find_spec("transformers")
    folders = found.submodule_search_locations if found is not None else None
    tables = [file for folder in folders or () for file in sorted(Path(folder, "models", "auto").glob("*.py"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in tables)


def _kernels(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields, at any depth, that name a kernel on the hub, with its name."""
    rest: list[tuple[str, Any]] = [*config.items()]
    while rest:
        field, value = rest.pop()
        if isinstance(value, Mapping):
            rest += [(f"{field}.{name}", each) for name, each in value.items()]
        elif isinstance(value, str) and "/" in value and _KERNEL in field:
            yield field, value
