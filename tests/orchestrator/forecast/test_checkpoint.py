"""What is known of a checkpoint: from a folder, from the hub, or from the stage that will make it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import chains, config, experiment
from orchestrator.forecast.checkpoint import Checkpoint, Checkpoints
from orchestrator.graph import Graph, Node
from orchestrator.sources import Sources
from stages import hub
from stages.store import Store
from stages.tokenizer_files import TokenizerFiles
from tests import hub as hubs
from tests.orchestrator.forecast.paper import EVOLM

TOKENIZER = {
    "added_tokens": [{"id": 2, "content": "</s>"}, {"id": 32000, "content": "<|im_start|>"}],
    "model": {"vocab": {"a": 0, "b": 1}},
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    with hubs.serve(tmp_path / "server") as server:
        server.use(tmp_path / "home", monkeypatch)
        yield server


def folder(place: Path, **more: Any) -> Path:
    """A checkpoint that has everything but weights worth the name."""
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({**EVOLM, "dtype": "bfloat16", "eos_token_id": [2, 7], **more}))
    (place / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (place / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}, "pad_token": null}')
    (place / "model.safetensors").write_text("weights")
    return place


def planned(store: Path, *overrides: str) -> Graph:
    composed = config.compose([*overrides, f"store={store}"])
    assert not composed.errors
    return chains.expand(experiment.read(composed.config, composed.overrides), Sources(store))


def repair(store: Path, base: str, rows: Path) -> dict[str, Checkpoint | None]:
    """What is known of the model of each node of a study that repairs a checkpoint."""
    rows.write_text('{"prompt": "1+1=", "completion": "2"}\n')
    given = [f"base={base}", f"checkpoint={base}", f"calibration={rows}", "rejuvenate.rho=0.01"]
    found = Checkpoints(Store(store))
    graph = planned(store, "+experiment=rejuvenate", *given)
    return {node.stage: found.of(node) for node in graph.nodes.values()}


def test_a_folder_is_the_root_of_what_is_made_of_it(tmp_path: Path) -> None:
    found = repair(tmp_path / "store", str(folder(tmp_path / "model")), tmp_path / "rows.jsonl")
    assert found["attribute"] == found["rejuvenate"]
    known = found["rejuvenate"]
    assert known is not None and known.shape is not None and known.tokenizer is not None
    assert (known.shape.parameters, known.dtype, known.ids) == (4_000_288_768, "bfloat16", {"eos_token_id": 7})
    added = {"</s>": 2, "<|im_start|>": 32000}
    assert known.tokenizer == TokenizerFiles(learned=1, added=added, eos="</s>", pad=None, ids={"</s>": 2}, plain=False)


def test_the_base_of_a_tiny_study_is_known_before_it_is_made(tmp_path: Path) -> None:
    graph = planned(tmp_path, "+experiment=tiny_math")
    known = Checkpoints(Store(tmp_path))
    found = {node.stage: known.of(node) for node in graph.nodes.values()}
    assert found.pop("contamination") is None
    assert len({id(each) for each in found.values()}) == 1
    base = found["evaluate"]
    assert base is not None and base.shape is not None and base.name == "pretrain/base"
    assert (base.shape.layers, base.shape.width, base.tokenizer) == (4, 128, None)


def test_a_model_of_the_hub_is_known_without_its_weights(server: hubs.Hub, tmp_path: Path) -> None:
    server.write("models/o/m", {"config.json": json.dumps(EVOLM), "model.safetensors": "weights"})
    known = repair(tmp_path / "store", "o/m", tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and known.shape is not None and known.shape.parameters == 4_000_288_768
    assert "model.safetensors" not in server.downloads()


def test_a_model_of_the_hub_is_looked_into_once_its_weights_are_here(server: hubs.Hub, tmp_path: Path) -> None:
    commit = server.write("models/o/m", {"config.json": json.dumps(EVOLM), "model.safetensors": "weights"})
    known = repair(tmp_path / "store", "o/m", tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and known.refused == ""
    hub.model("o/m", commit)
    known = repair(tmp_path / "store", "o/m", tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and "o/m: model.safetensors: not a readable safetensors file" in known.refused


def test_a_model_of_the_hub_that_cannot_be_read_is_refused_in_the_words_of_the_hub(
    server: hubs.Hub, tmp_path: Path
) -> None:
    server.write("models/o/gated", {"config.json": json.dumps(EVOLM)})
    server.write("models/o/none", {"weights.gguf": ""})
    server.gated.add("o/gated")
    gated = repair(tmp_path / "store", "o/gated", tmp_path / "rows.jsonl")["attribute"]
    assert gated is not None and gated.refused.startswith(
        f"model o/gated: gated; accept its conditions at {server.url}"
    )
    none = repair(tmp_path / "store", "o/none", tmp_path / "rows.jsonl")["attribute"]
    assert none is not None and none.refused.startswith("model o/none: no checkpoint in it; expected config.json")


def test_a_model_that_is_out_of_reach_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    known = repair(tmp_path / "store", "o/m", tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and known.shape is None and known.unknown == "its commit is not known"


@pytest.mark.parametrize("text", ["", "[]", '{"model_type": "gpt2"}', '{"eos_token_id": "x", "model_type": null}'])
def test_a_config_that_says_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    place = folder(tmp_path / "model")
    (place / "config.json").write_text(text)
    (place / "tokenizer.json").write_text(text)
    known = repair(tmp_path / "store", str(place), tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and known.shape is None and "of no family that is known here" in known.unknown


@pytest.mark.parametrize(
    ("said", "width"),
    [
        ({"hidden_size": 64, "num_attention_heads": 4}, 16),
        ({"hidden_size": 64, "num_attention_heads": 4, "head_dim": 32}, 32),
        ({"hidden_size": 64, "num_attention_heads": 4, "kv_lora_rank": 8}, None),
        ({"n_embd": 64, "n_head": 4}, None),
        ({"hidden_size": 64, "num_attention_heads": 0}, None),
    ],
)
def test_the_width_of_a_head_of_another_family(tmp_path: Path, said: dict[str, Any], width: int | None) -> None:
    place = folder(tmp_path / "model")
    (place / "config.json").write_text(json.dumps({"model_type": "some_new_one", **said}))
    known = repair(tmp_path / "store", str(place), tmp_path / "rows.jsonl")["attribute"]
    assert known is not None and known.head_width == width


def test_a_tokenizer_is_read_once(tmp_path: Path) -> None:
    place, store = folder(tmp_path / "model"), Store(tmp_path / "store")
    store.root.mkdir()
    first = Checkpoints(store)
    assert first._tokenizer(place) is not None
    first.remember()
    text = (place / "tokenizer.json").read_text()
    seen = (place / "tokenizer.json").stat()
    (place / "tokenizer.json").write_text("-" * len(text))
    os.utime(place / "tokenizer.json", ns=(seen.st_atime_ns, seen.st_mtime_ns))  # so that only who reads it knows
    again = Checkpoints(store)._tokenizer(place)
    assert again == first._tokenizer(place) and again is not None and again.learned == 1


def test_a_long_chain_is_walked_once(tmp_path: Path) -> None:
    node = Node(stage="pretrain", version=1, config=dict(planned_base(tmp_path)), inputs={}, label="base")
    for number in range(3 * sys.getrecursionlimit()):
        node = Node(stage="sft", version=1, config={"epochs": number}, inputs={"checkpoint": node}, label="V")
        node.fingerprint  # noqa: B018 (each is made of those before it, which were asked for)
    known = Checkpoints(Store(tmp_path)).of(node)
    assert known is not None and known.name == "pretrain/base"


def planned_base(store: Path) -> dict[str, Any]:
    (base,) = (node for node in planned(store, "+experiment=smoke").nodes.values() if node.stage == "pretrain")
    return base.config
