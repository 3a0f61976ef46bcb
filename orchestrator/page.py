"""The page of an evaluation: one HTML file that needs nothing else, no network either.

What a model wrote is data in it: JSON in which no `<` is left, inserted as text alone; and the page's own policy lets a
browser run no script but the page's.
"""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2

from launch.escape import inline
from orchestrator import answers, names, readable
from orchestrator.answers import Answer, Problem
from orchestrator.graph import Node
from stages import jsonfile

#: The template, its style sheet and its script.
_PARTS = Path(__file__).parent / "inspection"

#: Fields of the evaluate stage that are shown above the answers.
_SETTINGS = ("kind", "k", "temperature", "top_p", "max_new_tokens", "seed", "engine", "dtype")


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What is said of the evaluation as a whole.

    Attributes:
        total: problems that it has, if not all are on the page.
        scores: of its scores.json.
    """

    name: str
    fingerprint: str
    total: int
    settings: dict[str, Any]
    scores: dict[str, float]

    @classmethod
    def of(cls, node: Node, folder: Path, *, total: int) -> Heading:
        """The heading of a published evaluation."""
        return cls(
            name=names.full(node),
            fingerprint=node.fingerprint,
            total=total,
            settings={name: node.config[name] for name in _SETTINGS if name in node.config},
            scores=readable.read(folder, "scores.json"),
        )


def write(file: Path, heading: Heading, problems: Sequence[Problem]) -> None:
    """Write the page of these problems, in their order, whole or not at all."""
    put(file, render(heading, problems))


def put(file: Path, text: str | bytes) -> None:
    """Write a page, or what belongs to it, whole or not at all, and never through a link."""
    make_folder(file.parent)
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    jsonfile.put(file, text.encode(errors="backslashreplace") if isinstance(text, str) else text)


def make_folder(folder: Path) -> None:
    """Make a folder for reports; a link in its place, or in that of the folder that it is in, is removed."""
    for each in (folder.parent, folder):
        if each.is_symlink() or (each.exists() and not each.is_dir()):
            each.unlink()
        each.mkdir(parents=True, exist_ok=True)


def render(heading: Heading, problems: Sequence[Problem]) -> str:
    """The page as text."""
    return fill(
        "page.html.jinja",
        ("text.js", "page.js", "list.js"),
        heading=heading,
        counts=answers.counts(problems),
        problems=[_plain(problem) for problem in problems],
    )


def fill(template: str, scripts: Sequence[str], **values: Any) -> str:
    """A template of a page with these values, its style sheet and its scripts, which are one, and their hashes."""
    script = "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in scripts)
    style = (_PARTS / "page.css").read_text(encoding="utf-8")
    environment = templates(_PARTS)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["visible"] = inline
    return environment.get_template(template).render(
        **values, script=script, style=style, script_hash=hashed(script), style_hash=hashed(style)
    )


def templates(folder: Path, **options: Any) -> jinja2.Environment:
    """The templates of a folder: what they are given is text, and has to be there; `options` are more of jinja2's."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


def _plain(problem: Problem) -> dict[str, Any]:
    """A problem as the script reads it."""
    return {
        "problem": problem.number,
        "id": problem.id,
        "prompt": problem.prompt,
        "gold": problem.gold,
        "answers": [plain_answer(answer) for answer in problem.answers],
    }


def plain_answer(answer: Answer) -> dict[str, Any]:
    """An answer as the scripts read it."""
    return {**asdict(answer), "verdict": answer.verdict}


def hashed(text: str) -> str:
    """What the page's policy calls a script or style sheet."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
