"""The rows of a data source, where they can be known before it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.experiment import Data
from orchestrator.forecast import rows
from orchestrator.graph import Node
from orchestrator.sources import Source, Sources
from stages.store import Store

FIELDS = {"prompt": "{{ prompt }}"}


def counted(data: Data, origin: Node | None = None) -> int | None:
    return rows.count(Sources(Path()).data(data, "demonstrations", origin), Store(Path("nowhere")))


def test_lines_of_a_file_and_a_part_of_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n\n' * 10)
    assert counted(Data(path=str(file), fields=FIELDS)) == 10
    assert counted(Data(path=str(file), split="[-3:]", fields=FIELDS)) == 3
    assert counted(Data(path=str(file), split="[:100]", fields=FIELDS)) == 10
    (tmp_path / "rows.csv").write_text("prompt\na\n")
    assert counted(Data(path=str(tmp_path / "rows.csv"), fields=FIELDS)) == 1


def test_what_a_parquet_file_says_of_itself(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": ["a"] * 7}), tmp_path / "rows.parquet")
    assert counted(Data(path=str(tmp_path / "rows.parquet"), fields=FIELDS)) == 7


@pytest.mark.parametrize(
    ("file", "expected"), [("data/demonstrations.jsonl", 512), ("data/problems.jsonl", 1024), ("data/id.jsonl", 128)]
)
def test_what_pretrain_will_write(file: str, expected: int) -> None:
    sizes = {"sft_problems": 512, "rl_problems": 1024, "test_problems": 128}
    base = Node(stage="pretrain", version=1, config=sizes, inputs={}, label="base")
    assert counted(Data(stage="pretrain", file=file, fields=FIELDS), base) == expected


def test_what_is_on_the_hub_or_of_another_kind_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert counted(Data(hub="o/n", revision="a" * 40, fields=FIELDS)) is None
    assert rows.count(None, Store(tmp_path)) is None
    toy = Node(stage="toy_base", version=1, config={}, inputs={}, label="base")
    assert rows.count(Source(name="toy", content={}, origin=toy, reading={"file": "x"}), Store(tmp_path)) is None
