"""No model brings code that is run, and nobody is asked whether it may: also where somebody would say yes."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import remote_code
from stages.contract import StageError
from stages.modeling import checkpoint, loading
from stages.rejuvenation import compatibility
from tests import tiny_models

ROOT = Path(__file__).parents[2]
CONFIG = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
TOKENIZER = {"AutoTokenizer": ["evil.Tokenizer", None]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def brings(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """A model with code beside it that leaves a file where it is run, and these fields in one of its files."""

    def make(name: str = "config.json", **fields: Any) -> Path:
        folder = tmp_path / "model"
        (folder / "custom_generate").mkdir(parents=True)
        for file in plain.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        for code in ("evil.py", "custom_generate/generate.py"):
            (folder / code).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | fields))
        return folder

    return make


@pytest.fixture(params=["a terminal where somebody says yes", "nothing"])
def stdin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "nothing":
        monkeypatch.setattr("sys.stdin", None)
        yield
        return
    ours, theirs = os.openpty()
    os.write(ours, b"y\n" * 20)
    with open(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        yield
    os.close(ours)


def loads(folder: Path) -> None:
    source = tiny_models.source(folder)
    checkpoint.load_model(source, dtype="float32")
    checkpoint.load_tokenizer(source)
    loading.check_headers(folder)
    compatibility._config(source)


REFUSED = {
    "a family of its own": (
        "config.json",
        {"auto_map": CONFIG, "model_type": "evil"},
        "no model_type 'evil' that does",
    ),
    "a tokenizer of its own": (
        "tokenizer_config.json",
        {"auto_map": TOKENIZER, "tokenizer_class": "EvilTokenizer"},
        "no tokenizer_class 'EvilTokenizer' that does",
    ),
    "a kernel on the hub": ("config.json", {"attn_implementation": "evil/kernel"}, "attn_implementation='evil/kernel'"),
    "a kernel of one part": (
        "config.json",
        {"text_config": {"_attn_implementation": {"": "evil/kernel"}}},
        "text_config._attn_implementation.='evil/kernel'",
    ),
}
IGNORED = {
    "a family that is known": ("config.json", {"auto_map": CONFIG}, "config.json: evil.Config, evil.Model"),
    "code elsewhere": ("config.json", {"auto_map": {"AutoConfig": "o/evil--evil.Config"}}, "o/evil--evil.Config"),
    "a tokenizer that is known": ("tokenizer_config.json", {"auto_map": TOKENIZER}, "evil.Tokenizer"),
    "a tokenizer as it was written once": ("tokenizer_config.json", {"auto_map": ["evil.Tokenizer", None]}, "evil.Tok"),
    "custom generation alone": ("config.json", {}, ""),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_needs_its_own_code_is_refused(
    brings: Callable[..., Path], tmp_path: Path, stdin: None, kind: str
) -> None:
    name, fields, why = REFUSED[kind]
    folder = brings(name, **fields)
    source = tiny_models.source(folder)
    for read in (
        lambda: checkpoint.load_model(source, dtype="float32"),
        lambda: checkpoint.load_tokenizer(source),
        lambda: loading.check_headers(folder),
        lambda: compatibility._config(source),
    ):
        with pytest.raises(StageError, match="which is never run here") as raised:
            read()
        assert why in str(raised.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", IGNORED)
def test_a_model_that_is_known_is_read_without_its_code(
    brings: Callable[..., Path], tmp_path: Path, stdin: None, kind: str
) -> None:
    name, fields, code = IGNORED[kind]
    folder = brings(name, **fields)
    loads(folder)
    assert code in remote_code.ignored(folder)
    assert bool(remote_code.ignored(folder)) == bool(code)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "nonsense", [None, "evil.Config", [], {"AutoConfig": None}, {"AutoConfig": 3}, {"A": {}}], ids=str
)
def test_a_request_that_is_none_is_named(brings: Callable[..., Path], nonsense: object) -> None:
    folder = brings(auto_map=nonsense)
    with pytest.raises(StageError, match="auto_map=.*; expected names of classes"):
        checkpoint.load_model(tiny_models.source(folder), dtype="float32")


def test_what_transformers_would_refuse_is_refused_without_it(brings: Callable[..., Path]) -> None:
    """The tables that are read as text say what transformers itself says when it is asked."""
    from transformers import AutoConfig, AutoTokenizer

    for name, auto in (("config.json", AutoConfig), ("tokenizer_config.json", AutoTokenizer)):
        file, fields, _ = REFUSED["a family of its own" if name == "config.json" else "a tokenizer of its own"]
        folder = brings(file, **fields)
        with pytest.raises(ValueError, match="trust_remote_code"):
            auto.from_pretrained(folder, trust_remote_code=False)
        folder.rename(folder.with_name(name))


def test_every_call_says_that_no_code_is_trusted() -> None:
    calls = []
    for file in [*ROOT.glob("stages/**/*.py"), *ROOT.glob("launch/**/*.py"), *ROOT.glob("orchestrator/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Auto"):
                said = {each.arg: ast.unparse(each.value) for each in node.keywords}
                calls.append((f"{file.relative_to(ROOT)}:{node.lineno}", said.get("trust_remote_code")))
    assert len(calls) >= 5
    assert [where for where, said in calls if said != "False"] == []
