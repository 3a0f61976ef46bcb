"""Policies that matter: a light head, downward imports, a README whose links exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages import contract

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "transformers", "trl", "vllm", "datasets", "accelerate", "pyarrow", "wandb", "submitit"}


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after `code`."""
    program = f"{code}\nimport sys; print('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("experiment", ["tiny_math", "smoke"])
def test_planning_loads_nothing_heavy(experiment: str, tmp_path: Path) -> None:
    plan = f"from orchestrator.__main__ import main; main(['plan', '+experiment={experiment}', 'store={tmp_path}'])"
    assert not loaded(plan) & HEAVY


def test_every_stage_and_the_worker_import_light() -> None:
    assert (
        not loaded("import launch.worker; from stages import contract\nfor n in contract.names(): contract.load(n)")
        & HEAVY
    )


@pytest.mark.parametrize("name", contract.names())
def test_every_stage_keeps_the_contract(name: str) -> None:
    stage = contract.load(name)
    assert isinstance(stage.VERSION, int) and stage.VERSION >= 1
    assert stage.MAKES and callable(stage.takes) and callable(stage.run)
    assert stage.Config.__dataclass_params__.frozen and stage.Config.__doc__
    for field in stage.Config.__dataclass_fields__:
        assert re.search(rf"\b{field}\b", stage.Config.__doc__), f"{name}.Config does not document {field}"


def test_what_composes_configs_alone_knows_hydra() -> None:
    knows = {
        f.name
        for f in (ROOT / "orchestrator").rglob("*.py")
        if re.search(r"^\s*(import|from) hydra", f.read_text(), re.M)
    }
    assert knows == {"config.py", "overrides.py"}


def test_no_file_is_named_for_nothing() -> None:
    names = {file.stem for folder in ("orchestrator", "launch", "stages") for file in (ROOT / folder).rglob("*.py")}
    assert not names & {"utils", "common", "helpers", "misc"}


def test_the_readme_names_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links and not [link for link in links if not (ROOT / link).exists()]
