"""Which code, machines and packages made the artifacts: from the records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.document.again import Again
from orchestrator.document.blocks import Block, Cell, Missing, Paragraph, Row, Table
from orchestrator.document.material import Material

Record = Mapping[str, Any]

#: Stages whose numbers depend on the processor that they run on, as training amplifies the last digit.
TRAINING = ("pretrain", "sft", "grpo")


def blocks(material: Material, again: Again) -> Iterator[Block]:
    """Commits, machines, packages and repeated attempts; differing commits are said."""
    records = [record for entry in material.entries if (record := material.artifacts.record(entry.node)) is not None]
    if not records:
        yield Missing("Machines and code", "nothing is published yet", again.everything())
        return
    commits = Counter(map(_commit, records))
    if len({commit for commit in commits if commit != "unknown"}) > 1:
        yield Paragraph(
            f"The artifacts were made by {len(commits)} states of the code. The version of its stage is in each "
            "fingerprint, so none of these changes was meant to change a number."
        )
    if any(commit.endswith("changed") for commit in commits):
        yield Paragraph("Some of it was made by code with changes that no commit has.")
    mixed = sorted(stage for stage, codes in _codes(records).items() if len(codes) > 1)
    if mixed:
        yield Paragraph(
            f"Artifacts of one stage were made by more than one state of its code: {', '.join(mixed)}. Compare their "
            "numbers only if no change between these states may change one."
        )
    groups = {
        "commit": commits,
        "host": Counter(str(record.get("host") or "unknown") for record in records),
        "processor": Counter(map(_processor, records)),
        "GPUs": Counter(_gpus(record) for record in records),
        "Python": Counter(str(record.get("python") or "unknown") for record in records),
    }
    packages: dict[str, Counter[str]] = {}
    for record in records:
        for name, version in _packages(record).items():
            packages.setdefault(name, Counter())[version] += 1
    groups |= dict(sorted(packages.items()))
    attempts = [record.get("attempts") for record in records]
    repeated = sum(isinstance(each, int) and each > 1 for each in attempts)
    rows = [
        Row([Cell(name), Cell(value), Cell(str(count), "", count)])
        for name, counts in groups.items()
        for value, count in counts.most_common()
    ]
    rows.append(Row([Cell("attempts"), Cell("more than one"), Cell(str(repeated), "", repeated)]))
    yield Table(
        name="provenance",
        title="Code, machines and packages",
        head=["what", "value", "nodes"],
        rows=rows,
        names=2,
        caption=f"Of {len(records)} published nodes.",
    )


def caution(material: Material) -> Iterator[Block]:
    """What another processor would do to the numbers, where models were trained without GPUs."""
    nodes = [entry.node for entry in material.entries if entry.node.stage in TRAINING]
    records = [record for node in nodes if (record := material.artifacts.record(node)) is not None]
    made = dict.fromkeys(_processor(record) for record in records if _gpus(record) == "none")
    if not made:
        return
    several = " More than one kind made this study, so its rows may differ for that alone." if len(made) > 1 else ""
    yield Paragraph(
        f"Trained on processors ({', '.join(made)}), not on GPUs. Another kind of processor gives other numbers, far "
        "outside the errors shown, which are of seeds and problems on one kind: ModSFT of tiny_math solved 9.2 % on "
        f"one and 5.1 % on another.{several}"
    )


def _codes(records: Iterable[Record]) -> dict[str, set[str]]:
    """The states of the code that made the artifacts of each stage, of the records that say so."""
    found: dict[str, set[str]] = {}
    for record in records:
        identity, code = record.get("identity"), record.get("code")
        if isinstance(identity, dict) and isinstance(code, dict):
            found.setdefault(str(identity.get("stage")), set()).add(str(code.get("digest")))
    return found


def _commit(record: Record) -> str:
    git = record.get("git")
    if not isinstance(git, dict) or "commit" not in git:
        return "unknown"
    return f"{git['commit']}{', changed' if git.get('dirty') else ''}"


def _processor(record: Record) -> str:
    return str(record.get("processor") or "unknown")


def _gpus(record: Record) -> str:
    resources = record.get("resources")
    count = resources.get("gpus") if isinstance(resources, dict) else None
    return "unknown" if count is None else f"{count} on each machine" if count else "none"


def _packages(record: Record) -> dict[str, str]:
    found = record.get("packages")
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}
