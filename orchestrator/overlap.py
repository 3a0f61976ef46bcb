"""What two evaluations have in common: the problems that both have answered, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator import parquet, solved
from orchestrator.estimate import Unpaired
from orchestrator.graph import Node
from orchestrator.parquet import Type

#: Of one seed on both sides: id -> share before and after.
Pair = dict[str, tuple[float, float]]


def read(folder: Path) -> dict[str, tuple[float, int]]:
    """Id of a problem -> its share of right samples, and how many it has.

    Raises:
        Unpaired: the artifact does not say them.
    """
    found = solved.read(folder)
    counts = zip(found["correct"], found["samples"], strict=True)
    return {id: (right / of, of) for id, (right, of) in zip(found["id"], counts, strict=True)}


def alike(nodes: Sequence[Node], folders: Sequence[Path]) -> set[str]:
    """The ids that mean the same problem in two test sets: the answer is equal, and so is the prompt, if it can be.

    Raises:
        Unpaired: an artifact does not say its prompts and answers.
    """
    templates = [(node.config.get("template"), node.inputs.get("shots")) for node in nodes]
    columns: dict[str, Type] = {"id": "text", "gold": "text"}
    columns |= {"prompt": "text"} if templates[0] == templates[1] else {}
    files = [folder / "generations.parquet" for folder in folders]
    try:
        tables = [parquet.read(file, columns) for file in files]
    except (OSError, ValueError, KeyError) as error:
        raise Unpaired(f"no prompts and answers ({error})") from None
    ours, theirs = ({row[0]: row for row in zip(*table.values(), strict=True)} for table in tables)
    return {id for id, row in ours.items() if theirs.get(id) == row}
