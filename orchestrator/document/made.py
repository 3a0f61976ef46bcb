"""A report that was written: where it is, and what is missing in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.command import Study
from orchestrator.document import contents, files
from orchestrator.document.blocks import Missing
from orchestrator.results import Results


@dataclass(frozen=True)
class Made:
    """The files of a report, its page first, the state of its study, and the blocks that could not be made."""

    state: str
    missing: list[Missing]
    files: list[Path]

    def said(self) -> str:
        """Where it is, in a line."""
        more = f"; {len(self.missing)} things are missing in it, with the commands that make them"
        return f"report, {self.state}: {self.files[0]}{more if self.missing else ''}"

    def as_json(self) -> dict[str, Any]:
        missing = [asdict(each) for each in self.missing]
        return {"html": str(self.files[0]), "state": self.state, "missing": missing}


def make(study: Study, results: Results, overrides: Sequence[str]) -> Made:
    """Write the report of a study; `overrides` are those of the command line."""
    document = contents.document(study, results, overrides)
    written = files.write(document, study.reports)
    return Made(document.state, document.missing(), written)
