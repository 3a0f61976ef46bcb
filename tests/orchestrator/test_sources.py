"""Sources: identity by content, never by path; bad data refused by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment import Data
from orchestrator.refusal import ConfigError
from orchestrator.sources import Sources
from stages import artifact

FIELDS = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "store").mkdir()
    return Sources(tmp_path / "store")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "1+1=", "completion": "2", "more": 0}\n')
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def refused(sources: Sources, file: Path, fields: dict[str, str] = FIELDS) -> str:
    with pytest.raises(ConfigError) as caught:
        sources.data(Data(path=str(file), fields=fields), "calibration", None)
    (message,) = caught.value.messages
    return message


def test_moved_equal_bytes_are_the_same_source(sources: Sources, rows: Path, model: Path, tmp_path: Path) -> None:
    before = sources.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    after = sources.data(Data(path=str(rows.rename(tmp_path / "moved.jsonl")), fields=FIELDS), "calibration", None)
    assert before.fingerprint == after.fingerprint
    here = sources.model(str(model), "base")
    assert sources.model(str(shutil.copytree(model, tmp_path / "copy")), "base").fingerprint == here.fingerprint


def test_edited_bytes_and_another_reading_are_other_sources(sources: Sources, rows: Path, model: Path) -> None:
    before = sources.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    other = sources.data(Data(path=str(rows), fields={**FIELDS, "prompt": "{{ more }}"}), "calibration", None)
    rows.write_text('{"prompt": "1+1=", "completion": "3"}\n')
    edited = sources.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    assert len({before.fingerprint, other.fingerprint, edited.fingerprint}) == 3
    here = sources.model(str(model), "base").fingerprint
    (model / "model.safetensors").write_bytes(b"weighty")
    assert sources.model(str(model), "base").fingerprint != here


def test_an_artifact_of_ours_is_the_model_in_it(sources: Sources, model: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    shutil.copytree(model, artifact / "model")
    (artifact / "record.json").write_text("{}")
    assert sources.model(str(artifact), "base").fingerprint == sources.model(str(model), "base").fingerprint


def test_hashes_are_remembered_and_forgotten_with_the_bytes(sources: Sources, rows: Path, tmp_path: Path) -> None:
    sources.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    sources.remember()
    remembered = json.loads((tmp_path / "store" / ".sources.json").read_text())
    assert artifact.sha256(rows) in remembered.values()
    (tmp_path / "store" / ".sources.json").write_text('{"trunc')
    again = Sources(tmp_path / "store").data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    assert len(again.fingerprint) == 64


def test_rows_that_passed_are_not_read_again_until_the_file_or_the_fields_change(
    sources: Sources, rows: Path, tmp_path: Path
) -> None:
    sources.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    sources.remember()
    again = Sources(tmp_path / "store")
    seen = rows.stat()
    rows.write_bytes(b"-" * seen.st_size)
    os.utime(rows, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # so that only who reads it knows
    again.data(Data(path=str(rows), fields=FIELDS), "calibration", None)
    assert "not JSON" in refused(again, rows, {"prompt": "{prompt}"})
    os.utime(rows)
    assert "not JSON" in refused(again, rows)


def test_bad_data_files_are_refused_by_name(sources: Sources, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    assert "no such file" in refused(sources, file)
    file.write_bytes(b"")
    assert "the file is empty" in refused(sources, file)
    file.write_bytes(b"\n\n")
    assert "no rows" in refused(sources, file)
    file.write_bytes(b'{"prompt": "\xff"}\n')
    assert "not UTF-8" in refused(sources, file)
    file.write_bytes(b'{"prompt": "a", "completion": "b"}\nnonsense\n')
    assert f"{file}, line 2: not JSON" in refused(sources, file)
    file.write_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    assert "row 2: no column completion; it has prompt" in refused(sources, file)
    assert "a data file ends in one of .jsonl" in refused(sources, shutil.copy(file, tmp_path / "rows.txt"))


def test_a_folder_that_is_no_checkpoint_is_refused(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base='.*': neither a folder nor a hub id"):
        sources.model(str(tmp_path / "nowhere"), "base")
    with pytest.raises(ConfigError, match=r"expected config.json and \*.safetensors"):
        sources.model(str(tmp_path), "base")


def test_a_hub_id_stays_unresolved_offline_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = Sources(tmp_path).model("owner/name", "base")
    assert source.unresolved == (
        "base=owner/name: no file or folder has this name, and HF_HUB_OFFLINE is set, "
        "so its commit is unknown; where there is a network, fetch notes it down"
    )


def test_a_pinned_commit_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = Data(hub="owner/name", split="test", revision="a" * 40, fields={"prompt": "{{ q }}"})
    source = Sources(tmp_path).data(data, "benchmark.x.data", None)
    assert source.unresolved is None and source.spec().revision == "a" * 40


def test_exactly_one_place_is_given(sources: Sources) -> None:
    with pytest.raises(ConfigError, match="problems: give one of path, hub and stage .*, not path, stage"):
        sources.data(Data(path="a.jsonl", stage="pretrain", fields={}), "problems", None)


def test_a_path_beside_a_hub_id_is_read_in_its_place(sources: Sources, rows: Path) -> None:
    there = sources.data(Data(path=str(rows), hub="owner/name", split="test", fields=FIELDS), "problems", None)
    alone = sources.data(Data(path=str(rows), split="test", fields=FIELDS), "problems", None)
    assert there.hub is None and there.fingerprint == alone.fingerprint


def test_a_folder_is_the_bytes_of_its_files(sources: Sources, rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(ConfigError, match="problems=.*folder: the folder is empty"):
        folder.mkdir()
        sources.data(Data(path=str(folder), fields=FIELDS), "problems", None)
    shutil.copy(rows, folder / "test.jsonl")
    (folder / ".cache").mkdir()
    before = sources.data(Data(path=str(folder), fields=FIELDS), "problems", None)
    (folder / ".cache" / "downloaded").touch()  # as the hub's client leaves it
    again = Sources(tmp_path).data(Data(path=str(shutil.copytree(folder, tmp_path / "copy")), fields=FIELDS), "p", None)
    (folder / "README.md").write_text("---\n---\n")
    edited = sources.data(Data(path=str(folder), fields=FIELDS), "problems", None)
    assert before.fingerprint == again.fingerprint != edited.fingerprint


def test_the_order_of_fields_matters_because_each_sees_those_before_it(sources: Sources, rows: Path) -> None:
    fields = {"more": "{{ prompt }}", "prompt": "{{ more }}"}
    there, back = fields, dict(reversed(fields.items()))
    first, second = (sources.data(Data(path=str(rows), fields=each), "problems", None) for each in (there, back))
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"fields": {}}, "problems: give one of path, hub and stage .*, not none"),
        ({"hub": "o/n", "file": "a.jsonl", "fields": {}}, "problems.file=a.jsonl: of a path or a stage"),
        ({"hub": "o/n", "fields": {"prompt": "{{ q"}}, "problems: prompt='{{ q': no Jinja template"),
        (
            {"hub": "o/n", "split": "train[:5%]", "fields": {}},
            r"problems: split='train\[:5%\]': the name of a split, rows",
        ),
    ],
)
def test_what_a_data_source_says_is_looked_at_before_it_is_opened(
    sources: Sources, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sources.data(Data(**data), "problems", None)


def test_text_files_are_checked_without_heavy_libraries(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,completion\n1+1=,2\n")
    (tmp_path / "rows.json").write_text('[{"prompt": "1+1=", "completion": 2}]')
    program = f"""
import sys
from pathlib import Path
from orchestrator.experiment import Data
from orchestrator.sources import Sources
for name in ("rows.csv", "rows.json"):
    Sources(Path()).data(Data(path={str(tmp_path)!r} + "/" + name, fields={FIELDS!r}), "problems", None)
print({{"pyarrow", "datasets", "huggingface_hub", "torch"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../../etc/passwd", "data/../../x.jsonl", "data/../data/id.jsonl", "~/x.jsonl", "/"]
)
def test_a_file_of_a_stage_is_inside_of_what_it_publishes(sources: Sources, file: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources.data(Data(stage="pretrain", file=file, fields=FIELDS), "demonstrations", None)
    remedy = f"replace stage: by path: 'demonstrations={{path: \"{file}\"}}'"
    assert f"demonstrations.file={file}: not inside of what demonstrations.stage=pretrain publishes" in str(
        caught.value
    )
    assert remedy in str(caught.value)


@pytest.mark.parametrize("file", ["data/nothing.jsonl", "model/config.json", "", " ", ".", None])
def test_a_file_of_a_stage_is_one_that_it_publishes(sources: Sources, file: str | None) -> None:
    with pytest.raises(
        ConfigError, match=r"benchmark\.x\.data\.file.* of the files that pretrain publishes \(data/dem"
    ):
        sources.data(Data(stage="pretrain", file=file, fields=FIELDS), "benchmark.x.data", None)


def test_what_a_stage_publishes_is_taken_however_it_is_written(sources: Sources) -> None:
    for file in ("data/id.jsonl", "./data/id.jsonl", "data//id.jsonl"):
        assert sources.data(Data(stage="pretrain", file=file, fields=FIELDS), "demonstrations", None).path is None


def test_a_pipe_is_refused_and_not_opened(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "rows.jsonl")
    assert "neither a file nor a folder" in refused(sources, tmp_path / "folder" / "rows.jsonl")
    assert "neither a file nor a folder" in refused(sources, tmp_path / "folder")


def test_a_folder_of_everything_is_not_hashed(
    sources: Sources, rows: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestrator.sources.MOST_FILES", 1)
    assert f"calibration={tmp_path}: a folder of more than 1 files; name that of one data set" in refused(
        sources, tmp_path
    )


@pytest.mark.parametrize("name", ["path", "hub", "stage"])
def test_an_empty_name_is_not_this_folder(sources: Sources, name: str) -> None:
    with pytest.raises(ConfigError, match=f"problems.{name}: is empty; give a file, a folder or a hub id"):
        sources.data(Data(**{name: " "}), "problems", None)


def test_a_name_that_is_too_long_is_one_message(sources: Sources) -> None:
    assert "cannot be read (File name too long)" in refused(sources, Path("/" + "x" * 300 + ".jsonl"))


def test_every_kind_of_file_is_looked_at(sources: Sources, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": [{"role": "user", "content": "b"}]}]
    told = "row 2, column completion, field completion: '{{ completion }}' cannot be filled: a conversation"
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(
        pa.table({"prompt": ["a"], "completion": [{"role": "a", "content": "b"}]}), tmp_path / "rows.parquet"
    )
    for name in ("rows.json", "rows.jsonl"):
        assert refused(sources, tmp_path / name).startswith(f"calibration={tmp_path / name}, {told}")
    assert "rows.parquet, row 1, column completion" in refused(sources, tmp_path / "rows.parquet")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "rows.parquet", tmp_path / "folder" / "train.parquet")
    assert "folder, row 1, column completion" in refused(sources, tmp_path / "folder")


def test_only_the_rows_that_are_read_are_looked_at_and_only_so_much_of_them(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "abc", "completion": "d", "more": NaN}\n' * 9 + '{"prompt": NaN, "completion": "d"}\n')
    data = Data(path=str(file), split="[:9]", fields=FIELDS)
    assert sources.data(data, "calibration", None).rows == 9
    assert "row 10, column prompt" in refused(sources, file)
    monkeypatch.setattr("orchestrator.sources.CHECKED_BYTES", 20)
    assert sources.data(Data(path=str(file), fields=FIELDS), "calibration", None).rows is None
