"""The code of a stage: digests of the modules that its numbers come from. Recorded, never part of an identity.

A stage's code is its module and what that imports of `stages`, also inside functions, except for `CARRIERS` and other
stages. Code is compared definition by definition, without comments, docstrings, import statements and layout: a
definition that moves to another module, or a module that is renamed, is no change.

Whether a change may change a number is for a person to say, by raising the stage's VERSION. Until then artifacts of the
old code count as published, and plan and status name them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages
from stages import content, contract
from stages.store import Memory

#: Modules and packages of `stages` that carry artifacts and messages, and compute no number of any stage.
CARRIERS = (
    "artifact",
    "contract",
    "identity",
    "jsonfile",
    "lifeline",
    "own",
    "part",
    "progress",
    "saved",
    "spoilt",
    "store",
    "tracking",
)

#: Digits of a digest.
_DIGITS = 16


@dataclass(frozen=True)
class Code:
    """The code of a stage: one digest of all its definitions, and one of each module's, by the module's name."""

    digest: str
    modules: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "modules": dict(self.modules)}

    def changed_since(self, modules: Mapping[str, str]) -> list[str]:
        """The modules that differ from those of a record, that it lacks, or that are gone."""
        return sorted(name for name in {*self.modules, *modules} if self.modules.get(name) != modules.get(name))


def of(stage: str, store: Path) -> Code:
    """The code of a stage as it is now. A file is parsed once: its digests are remembered in the store."""
    known = content.memory(store)
    definitions: list[str] = []
    modules: dict[str, str] = {}
    waiting, seen = [stage], {stage}
    left_out = {*CARRIERS, *contract.names()}
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None:  # a name that was imported from a module, not a module
            continue
        read = _read(file, known)
        definitions += read["definitions"]
        modules[name] = _hash("\n".join(read["definitions"]))
        new = {each for each in read["imports"] if each.partition(".")[0] not in left_out} - seen
        seen |= new
        waiting += new
    known.keep()
    return Code(_hash("\n".join(sorted(definitions))), dict(sorted(modules.items())))


def _file(name: str) -> Path | None:
    """The file of a module, by its name in `stages`."""
    for root in stages.__path__:
        place = Path(root, *name.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _read(file: Path, known: Memory) -> dict[str, list[str]]:
    """The digests of a file's definitions, and the names in `stages` that it may import."""
    source = file.read_bytes()
    key = f"code:{hashlib.sha256(source).hexdigest()}"  # by content: each job has a copy of its own
    found: dict[str, list[str]] | None = known.get(key)
    if found is None:
        found = _parsed(source)
        known.put(key, found)
    return found


def _parsed(source: bytes) -> dict[str, list[str]]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # somebody is in the middle of an edit
        return {"definitions": [hashlib.sha256(source).hexdigest()[:_DIGITS]], "imports": []}
    return {"definitions": [_hash(text) for text in _definitions(tree)], "imports": sorted(set(_imports(tree)))}


def _definitions(tree: ast.Module) -> Iterator[str]:
    """What each statement of a module means, in its order; nothing of those that mean nothing here."""
    for statement in tree.body:
        text = _meaning(statement)
        if text:
            yield text


def _meaning(node: Any) -> str:
    """A syntax tree as text, the same on every version of Python: empty parts are left out, and so is the place."""
    if isinstance(node, list):
        return "".join(f"{_meaning(each)};" for each in node if _meaning(each))
    if not isinstance(node, ast.AST):
        return "" if node is None else repr(node)
    if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node) or _is_for_types(node):
        return ""
    parts = ((name, _meaning(part)) for name, part in ast.iter_fields(node) if name not in ("ctx", "kind"))
    return f"{type(node).__name__}({','.join(f'{name}={text}' for name, text in parts if text)})"


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(node: ast.AST) -> Iterator[str]:
    """Names in `stages` that a syntax tree imports: of modules, of packages, or of what is in them."""
    if _is_for_types(node):
        return
    if isinstance(node, ast.Import):
        yield from (each.name.removeprefix("stages.") for each in node.names if each.name.startswith("stages."))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "stages" and not node.level:
        below = (node.module or "").partition(".")[2]
        yield from ([below] if below else [])
        yield from (f"{below}.{each.name}" if below else each.name for each in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
