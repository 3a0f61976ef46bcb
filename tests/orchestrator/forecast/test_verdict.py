"""What plan and run refuse, each in one message with its arithmetic and the remedy; and what they let pass."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from orchestrator.__main__ import main
from orchestrator.forecast import tensors
from tests import hub as hubs
from tests.orchestrator.forecast.paper import EIGHT, EVOLM, model, study, weights

#: A shape that takes no time to hash.
SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def refused(capsys: pytest.CaptureFixture[str], *words: str, verb: str = "plan") -> list[str]:
    assert main([verb, *words]) == 2
    lines = capsys.readouterr().err.splitlines()  # among them, perhaps, what the hub's client has to say
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def passes(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["plan", *words]) == 0
    return capsys.readouterr().out


def test_gpus_of_too_little_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = refused(capsys, *study(tmp_path, "only=[ModSFT,OverSFT]", *EIGHT))
    assert message.startswith(
        "cluster.stages.sft.gpu_memory=80: GB, but sft/ModSFT (and 1 more) needs 105.5. Each GPU, in a step: "
        "master weights 16.0 (4P) + Adam's moments 32.0 (8P) + gradients 16.0 (4P) + buckets of DDP 16.0 (4P) + "
        "copies of autocast 8.0 (2P) + activations 14.3 ("
    )
    assert message.endswith(
        " = 105.5 GB (P = 4,000,288,768); it would fit with ++cluster.classes.train.sharding=fsdp2 (38.2 GB), or "
        "++cluster.classes.train.nodes=2 ++cluster.classes.train.sharding=fsdp2 (34.2 GB); "
        "cluster.stages.sft.gpu_memory=null refuses nothing"
    )


def test_what_it_proposes_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = refused(capsys, *study(tmp_path, "only=[ModSFT]", *EIGHT))
    proposed = message.split("it would fit with ")[1].split(" (")[0]
    assert "GPU memory: sft 38.2 of 80" in passes(capsys, *study(tmp_path, "only=[ModSFT]", *EIGHT, proposed))


def test_an_unknown_memory_refuses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gpu_memory is not set" in passes(
        capsys, *study(tmp_path, "only=[ModSFT]", *EIGHT, "cluster.classes.train.gpu_memory=null")
    )


def test_batches_that_so_many_processes_cannot_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (*EIGHT[:-1], "cluster.classes.train.gpus=6", "grpo.prompts=510", "grpo.mini_batch=102")
    messages = refused(capsys, *study(tmp_path, "only=[ModSFT+RL]", *given))
    assert messages == [
        "sft.batch=256: cannot be shared out equally over 6 devices; possible numbers of devices: 1, 2, 4, 8, 16, 32, "
        "64, 128, 256 (cluster.stages.sft: 6 on one machine)"
    ]
    (message,) = refused(capsys, "+experiment=tiny_math", f"store={tmp_path}/tiny", "+cluster.stages.sft.processes=3")
    assert message.startswith("sft.batch=32: cannot be shared out equally over 3 devices")


def test_a_context_that_is_too_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "short", max_position_embeddings=1024)
    given = study(tmp_path, "only=[ModSFT+RL]", "benchmark=[math500]", base=base)
    assert refused(capsys, *given) == [
        f"sft.max_length=2048: tokens, but {base} has 1,024 positions; allowed: at most 1024",
        f"grpo.max_prompt=512 and grpo.max_new_tokens=1024: together 1,536 tokens, but {base} has 1,024 positions; "
        "lower one of them",
        f"evaluate.max_new_tokens=1024: {base} has 1,024 positions, and they leave no room for a prompt; "
        "allowed: below 1024",
    ]
    few = ("sft.max_length=1024", "evaluate.max_new_tokens=512", "grpo.max_new_tokens=512")
    passes(capsys, *given, *few)


def test_the_context_of_a_base_that_is_not_made_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = refused(capsys, "+experiment=smoke", f"store={tmp_path}", "grpo.max_prompt=500")
    assert message.startswith("grpo.max_prompt=500 and grpo.max_new_tokens=64: together 564 tokens, but pretrain/base")


def test_a_tokenizer_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "mixed", {"word": 32000})
    assert refused(capsys, *study(tmp_path, "only=[ModSFT]", base=base)) == [
        f"base={base}: its tokenizer has ids up to 32,000, its embedding 32,000 rows: they are of two models; put the "
        "tokenizer beside the weights that these were trained with"
    ]


def test_ids_that_the_embedding_has_no_row_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "mixed", {"<|im_end|>": 32001}, "<|im_end|>", eos_token_id=[2, 32001], pad_token_id=-1)
    assert refused(capsys, *study(tmp_path, "only=[ModSFT]", base=base)) == [
        f"base={base}: its tokenizer ends or pads with <|im_end|> (id 32001), for which its embedding of 32,000 rows "
        "has none; name another one in tokenizer_config.json",
        f"base={base}: config.json says eos_token_id=32001, but its vocabulary has 32,000 tokens; correct it, or take "
        "the config of the model that the weights are of",
    ]
    new = model(tmp_path / "new", ends="<|im_end|>")  # which is in no file, so that it is given the next id
    settings = new / "tokenizer.json"
    settings.write_text(settings.read_text().replace('"vocab": {}', '"vocab": {"word": 31999}'))
    (message,) = refused(capsys, *study(tmp_path, "only=[ModSFT]", base=new))
    assert message.startswith(f"base={new}: its tokenizer ends or pads with <|im_end|> (id 32000)")
    only = ["++variants.Given=[checkpoint]", f"checkpoint={new}", "only=[Given]", "benchmark=[math500]"]
    given = [word for word in study(tmp_path, *only) if word != "benchmark=[]"]
    passes(capsys, *given)  # vLLM is never given it; transformers pads with it
    (message,) = refused(capsys, *given, "evaluate.engine=transformers")
    assert message.startswith(f"checkpoint={new}: its tokenizer ends or pads with <|im_end|> (id 32000)")
    unused = model(tmp_path / "unused", {"<|image|>": 32001})  # an added token that nothing writes
    passes(capsys, *study(tmp_path, "only=[ModSFT]", base=unused))


def test_a_template_whose_tokens_the_tokenizer_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "plain")
    given = ("only=[ModSFT]", "benchmark=[math500]", "template=qwen_math")
    (message,) = refused(capsys, *study(tmp_path, *given, base=base))
    assert message == (
        f"template: writes <|im_end|>, <|im_start|>, which {base} has no token for: it would read them as plain text; "
        "choose another template, for example template=bare, or a base that has them"
    )
    chat = model(tmp_path / "chat", {"<|im_start|>": 100, "<|im_end|>": 101})
    passes(capsys, *study(tmp_path, *given, base=chat))


def test_two_models_that_are_not_states_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1=", "completion": "2"}\n')
    base, other = model(tmp_path / "base"), model(tmp_path / "other", num_hidden_layers=32, vocab_size=32064)
    given = ["+experiment=rejuvenate", f"base={base}", f"checkpoint={other}", f"calibration={rows}"]
    given += [f"store={tmp_path}/store", "rejuvenate.rho=0.01", "attribute.samples=1"]
    (message,) = refused(capsys, *given)
    assert message == (
        f"checkpoint={other} and base={base}: not two states of one model (layers 32 and 28, vocabulary 32064 and "
        "32000); name two that are"
    )
    longer = model(tmp_path / "longer", max_position_embeddings=4096)
    shown = passes(capsys, *given[:2], f"checkpoint={longer}", *given[3:])
    assert f"note: base={base} and checkpoint={longer} have positions 2048 and 4096: what is made has the" in shown


def repair(tmp_path: Path, base: Path, checkpoint: Path, *more: str) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1+1=", "completion": "2"}\n')
    given = ["+experiment=rejuvenate", f"base={base}", f"checkpoint={checkpoint}", f"calibration={rows}"]
    return [*given, f"store={tmp_path}/store", "rejuvenate.rho=0.01", "attribute.samples=1", *more]


def test_files_that_are_not_one_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = model(tmp_path / "base"), model(tmp_path / "other")
    (tmp_path / "store").mkdir()
    for _ in range(2):  # that it passes is remembered, and only as long as its files are the same
        passes(capsys, *repair(tmp_path, base, other))
    (other / "adapter_config.json").write_text("{}")
    (message,) = refused(capsys, *repair(tmp_path, base, other))
    assert message.startswith(f"checkpoint={other}: adapter_config.json lies beside the weights of a full model: which")
    (message,) = refused(capsys, *study(tmp_path, "only=[ModSFT]", base=other))
    assert message.startswith(f"base={other}: adapter_config.json lies beside")
    (other / "adapter_config.json").unlink()
    (other / "tokenizer.json").write_text("{")
    (message,) = refused(capsys, *repair(tmp_path, base, other))
    assert message.startswith(f"checkpoint={other}: tokenizer.json: not readable JSON")


def test_a_checkpoint_that_is_only_evaluated_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = model(tmp_path / "other", num_hidden_layers=2)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    given = study(tmp_path, f"checkpoint={other}", "only=[Given]", "++variants.Given=[checkpoint]")
    words = [word for word in given if word != "benchmark=[]"]
    (message,) = refused(capsys, *words, "benchmark=[math500]")
    assert message.startswith(
        f"checkpoint={other}: model.safetensors: its weights are not those of the llama model that its config.json "
        "describes (3 layers, hidden_size 4096, vocab_size 32000). Tensors that are 9 missing, so that they would be "
    )


def test_a_family_whose_neurons_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "mistral"}))
    (message,) = refused(capsys, *study(tmp_path, "only=[Rejuvenation]", base=base))
    assert message == (
        f"base={base}: model_type 'mistral', whose neurons attribute and diagnose do not know; allowed: llama, qwen2, "
        "qwen3; any family: SFT, RL, evaluation, and fusion alone (rejuvenate.rho=0), in chains without attribute "
        "(only=[...]) and without diagnoses (~diagnoses)"
    )
    passes(capsys, *study(tmp_path, "only=[ModSFT,Fusion]", "~diagnoses", base=base))
    fused = "++variants.Rejuvenated=[checkpoint,rejuvenate]"
    given = [word for word in repair(tmp_path, base, base, fused, "rejuvenate.rho=0.0") if "attribute." not in word]
    passes(capsys, *given)


def test_weights_that_compute_different_things(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = model(tmp_path / "base"), model(tmp_path / "other", rope_theta=500000.0)
    (message,) = refused(capsys, *repair(tmp_path, base, other))
    assert message == (
        f"base={base} and checkpoint={other}: their config.json say that equal weights compute different things "
        "(config rope_parameters.rope_theta: 10000.0 in the base, 500000.0 in the checkpoint); name two states of one "
        "model, or correct the one that is wrong"
    )
    same = model(tmp_path / "same", rope_parameters={"rope_theta": 10000, "rope_type": "default"}, use_cache=False)
    passes(capsys, *repair(tmp_path, base, same))


def test_tensors_that_cannot_be_fused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "base", **SMALL)
    plain = tensors.expected({**EVOLM, **SMALL})
    for name, message in {
        "I8": "has tensors of dtype I8; allowed: F32, BF16, F16 (attribute, rejuvenate, diagnose)",
        "pickled": "has pickled weights; only safetensors are read (attribute, rejuvenate, diagnose)",
        "quantised": "is quantised (quantization_config) (attribute, rejuvenate, diagnose)",
        "unprefixed": "has the names that the class of the base model saves, without `model.`; load it with "
        "AutoModelForCausalLM and save it again (attribute and diagnose look for model.layers)",
    }.items():
        more = {"quantization_config": {"bits": 4}} if name == "quantised" else {}
        other = model(tmp_path / name, **SMALL, **more)
        file = other / "model.safetensors"
        if name == "I8":
            weights(file, plain, dtype="I8", width=1)
        elif name == "pickled":
            file.rename(other / "pytorch_model.bin")
            (other / "other.safetensors").touch()
        elif name == "unprefixed":
            weights(file, {tensor.removeprefix("model."): shape for tensor, shape in plain.items()})
        assert refused(capsys, *repair(tmp_path, base, other)) == [f"checkpoint={other}: {message}"]
        passes(capsys, *study(tmp_path, "only=[ModSFT]", "~diagnoses", "sft.max_length=256", base=other))


def test_a_model_that_asks_for_code_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = {"auto_map": {"AutoConfig": "configuration_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}}
    own = model(tmp_path / "own", **code)
    config = own / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "own"}))
    assert refused(capsys, *study(tmp_path, "only=[ModSFT]", "~diagnoses", base=own)) == [
        f"base={own}: config.json: asks for code of its own (auto_map: configuration_own.Config, modeling_own.Model), "
        "which is never run here; transformers has no model_type 'own' that does without it. Take a model of a family "
        "that transformers has"
    ]
    known = model(tmp_path / "known", **code)
    assert (
        f"note: base={known}: asks for code of its own (config.json: configuration_own.Config, modeling_own.Model), "
        "which is not run: transformers has its own"
    ) in " ".join(passes(capsys, *study(tmp_path, "only=[ModSFT]", base=known)).split())


def test_a_tokenizer_without_an_eos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "base")
    settings = base / "tokenizer_config.json"
    settings.write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert refused(capsys, *study(tmp_path, "only=[ModSFT]", base=base)) == [
        f"base={base}: its tokenizer has no eos, with which every response ends (sft, attribute, diagnose and grpo "
        "need it); name one in tokenizer_config.json (eos_token)"
    ]
    (base / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}}')
    passes(capsys, *study(tmp_path, "only=[ModSFT]", base=base))


def test_heads_that_vllm_cannot_compute_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["+experiment=smoke", f"store={tmp_path}/store", "pretrain.heads=4", "pretrain.kv_heads=2"]
    messages = refused(capsys, *given, verb="run")
    shown = passes(capsys, *given)  # it may be planned here and run elsewhere
    assert all(f"note: {message}" in shown for message in messages)
    assert sorted(messages, reverse=True) == [
        f"{stage}.engine=vllm: on a CPU vLLM has no attention for heads of 16, which pretrain/base has; allowed: 32, "
        "64, 80, 96, 112, 128, 160, 192, 224, 256, 512; set pretrain.width and pretrain.heads so that width / heads is "
        f"one of them, or set {stage}.engine=transformers, or give {stage} a GPU (cluster)"
        for stage in ("grpo", "evaluate")
    ]
    passes(capsys, *given, "grpo.engine=transformers", "evaluate.engine=transformers")
    passes(capsys, *given, "cluster=slurm", "++cluster.classes.train.gpus=1")


def test_a_disk_that_is_too_small_is_shown_by_plan_and_refused_by_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10 * 10**6))
    words = ["+experiment=tiny_math", "only=[OverSFT+RL]", "benchmark=[]", f"store={tmp_path}/store"]
    assert "only 10.0 MB free" in passes(capsys, *words)
    (message,) = refused(capsys, *words, verb="run")
    # P = 885,888: 4P of pretrain and 12P of SFT are there, GRPO has two checkpoints of 12P
    assert message == (
        f"store={tmp_path}/store: 10.0 MB are free there, but this needs 35.4 MB, one job at a time: 14.2 MB that is "
        "published by then, and 21.3 MB while grpo/OverSFT+RL runs; plan --cost shows all. Name another store or fewer "
        "variants (only=[...]), or make room: gc shows what can go"
    )


def test_a_model_of_the_hub_that_nobody_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hubs.serve(tmp_path / "server") as server:
        server.write("models/o/gated", {"config.json": json.dumps(EVOLM)})
        server.write("models/o/open", {"config.json": json.dumps(EVOLM)})
        server.write("datasets/ZhentingNLP/mathaug-disjoint", {"train.jsonl": "{}"})
        server.gated.add("o/gated")
        server.use(tmp_path / "home", monkeypatch)
        words = ["+experiment=evolm_math", "benchmark=[]", "only=[ModSFT]", f"store={tmp_path}/store"]
        (message,) = refused(capsys, *words, "base=o/gated")
        assert message == (
            f"model o/gated: gated; accept its conditions at {server.url}/o/gated, then set HF_TOKEN or run "
            "`hf auth login`"
        )
        passes(capsys, *words, "base=o/open")
        assert server.downloads() == ["config.json"]


def test_everything_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model(tmp_path / "bad", {"word": 40000}, max_position_embeddings=1024)
    messages = refused(capsys, *study(tmp_path, "only=[ModSFT]", *EIGHT, base=base))
    assert [message.split(":")[0] for message in messages] == [
        "sft.max_length=2048",
        "cluster.stages.sft.gpu_memory=80",
        f"base={base}",
    ]
