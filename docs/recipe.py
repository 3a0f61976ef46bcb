"""Writes docs/RECIPE.md: the paper's mathematics recipe, value by value, as conf/ has it.

A value is that of the composed experiment; what stands beside it are the source lines of conf/ (`docs.source_lines`).
Which files those are, the defaults list of conf/recipe/evolm.yaml says. So the page cannot say what is not run.

    python -m docs.recipe          # or: make recipe
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from docs import source_lines
from docs.source_lines import Fixed
from orchestrator import config

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "RECIPE.md"

#: What all the experiments are made of.
RECIPE = CONF / "recipe" / "evolm.yaml"

#: The experiments, and what of the paper each is for.
EXPERIMENTS = {
    "evolm_math": "tables 1, 2 and 4",
    "evolm_alpha": "table 5",
    "evolm_rho": "table 6",
    "evolm_checkpoints": "table 7 and figure 5",
}

#: The group of a file -> the heading of its values, in the order of the page. What is not here, the paper has not.
HEADINGS = {
    "recipe": "Base model and data",
    "template": "Base model and data",
    "dataset": "Base model and data",
    "sft": "SFT",
    "attribute": "Attribution",
    "rejuvenate": "Rejuvenation",
    "grpo": "RL",
    "evaluate": "Evaluation",
    "benchmark": "Benchmarks",
}

HEAD = ("the paper", "the tool's key, and its default", "key here", "value here", "what differs, or why")

OPENING = """\
# The recipe, value by value

Written by `make recipe` from the comments in [conf/](../conf) and the values that `+experiment=evolm_math` is composed
of; a test compares them. **It composes and plans; it has not run at full size.**

- The paper is *When RL Fails after SFT* (arXiv 2606.09932). A cell names the place: `B` is appendix B, `4.3` a section.
  `silent`: the paper does not say.
- The tools are those that the paper names, with their defaults behind the comma: LLaMA-Factory (at ff6d4d1; most of its
  keys are those of transformers' trainer) and verl (at b178a3c; `actor`, `ref` and `rollout` lie in its
  `actor_rollout_ref`). Which versions the paper used, it does not say. EvoLM is arXiv 2506.16029 and its public code.
- `ours` is what neither the paper nor these tools decide.
- A row without a key is what no key says: what it is, and where.
"""


@dataclass(frozen=True)
class Place:
    """A file of conf/, and the key of the composed config that it fills; "" for the whole config."""

    file: Path
    key: str = ""

    @property
    def group(self) -> str:
        return self.file.parent.name


def places() -> list[Place]:
    """The files of the recipe: conf/recipe/evolm.yaml, and what its defaults list names."""
    found = [Place(RECIPE)]
    for entry in yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["defaults"]:
        if entry == "_self_":
            continue
        ((target, chosen),) = entry.items()
        group, _, package = target.removeprefix("override ").lstrip("/").partition("@")
        names = chosen if isinstance(chosen, list) else [chosen]
        found += [Place(CONF / group / f"{name}.yaml", package or group) for name in names]
    order = list(HEADINGS)
    return sorted((place for place in found if place.group in order), key=lambda place: order.index(place.group))


def composed(*overrides: str) -> dict[str, Any]:
    """The config of a command line that has no errors."""
    found = config.compose(list(overrides))
    assert not found.errors, found.errors
    return found.config


def page() -> str:
    """The whole page."""
    configs = {name: composed(f"+experiment={name}") for name in EXPERIMENTS}
    pinned = pins(configs.values())
    tables: dict[str, list[Sequence[str]]] = {}
    texts: dict[str, str] = {}
    for place in places():
        tables.setdefault(HEADINGS[place.group], []).extend(_rows(place, configs["evolm_math"], pinned, texts))
    slurm = Place(CONF / "cluster" / "slurm.yaml", "cluster")
    tables["Where it runs, with cluster=slurm"] = [*_rows(slurm, composed("+experiment=evolm_math", "cluster=slurm"))]
    for name, what in EXPERIMENTS.items():
        tables[f"Variants of {name}: {what}"] = [*_rows(Place(CONF / "experiment" / f"{name}.yaml"), configs[name])]
    return "\n".join([OPENING, *(_table(heading, rows) for heading, rows in tables.items())])


def pins(configs: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """`stage.field` -> the values that variants pin, each once, from the smallest on."""
    found: dict[str, list[Any]] = {}
    steps = [step for each in configs for chain in each["variants"].values() for step in chain]
    for step in steps:
        for stage, fields in step.items() if isinstance(step, dict) else ():
            for name, value in fields.items():
                values = found.setdefault(f"{stage}.{name}", [])
                values += [value] if value not in values else []
    return {key: sorted(values) for key, values in found.items()}


def shown(value: Any) -> str:
    """A value in one line, as YAML has it: `1e-6`, `[a, b]`, `null`."""
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    if isinstance(value, str):
        return json.dumps(value) if "\n" in value else value
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {shown(each)}' for name, each in value.items())}}}"
    return json.dumps(value)


def _rows(
    place: Place,
    values: Mapping[str, Any],
    pinned: Mapping[str, list[Any]] | None = None,
    texts: dict[str, str] | None = None,
) -> Iterator[Sequence[str]]:
    """The rows of a file. `texts` are the long ones that the page has already, each with its key."""
    for line in source_lines.read(place.file):
        if isinstance(line, Fixed):
            yield line.paper, line.tool, line.what, _linked(line.here), line.remark
            continue
        path = [*filter(None, place.key.split(".")), *line.key]
        key, value = ".".join(path), _value(values, path)
        cell = _cell(value, (pinned or {}).get(key, []))
        if texts is not None and isinstance(value, str) and "\n" in value:
            first = texts.setdefault(value, key)
            cell = cell if first == key else f"that of `{first}`"
        yield line.paper, line.tool, f"`{key}`", cell, line.remark


def _value(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = values
    for name in path:
        value = value[name]
    return value


def _cell(value: Any, pinned: Sequence[Any]) -> str:
    """A value, and those that variants pin in its place."""
    others = [f"`{shown(each)}`" for each in pinned if each != value]
    own = [] if value == "???" else [f"`{shown(value)}`"]
    return "; ".join([*own, *([f"in some variants {', '.join(others)}"] if others else [])])


def _linked(here: str) -> str:
    """`stages/x.py: y`, with the file as a link."""
    file, separator, rest = here.partition(":")
    return f"[{file}](../{file}){separator}{rest}"


def _table(heading: str, rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([f"## {heading}", "", _line(HEAD), _line(["---"] * len(HEAD)), *map(_line, rows), ""])


def _line(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
