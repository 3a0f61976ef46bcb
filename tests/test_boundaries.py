"""Policies that matter: a light head, downward imports, pages whose links exist, a README that is short."""

import ast
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
    assert knows == {"config.py", "config_loader.py", "guard.py", "overrides.py"}


def test_nothing_is_printed_that_is_not_escaped() -> None:
    """What the head prints is a constant, JSON, or has gone through `launch.escape`: it may be of others."""
    free = {"start.py"}  # which has to be there before anything else is imported
    found = [
        f"{file.name}:{call.lineno}"
        for file in (ROOT / "orchestrator").rglob("*.py")
        if file.name not in free
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
        if not all(map(_is_escaped, call.args))
    ]
    assert found == []


def _is_escaped(shown: ast.expr) -> bool:
    match shown:
        case ast.Constant():
            return True
        case ast.IfExp(body=one, orelse=other):
            return _is_escaped(one) and _is_escaped(other)
        case ast.BoolOp(values=values):
            return all(map(_is_escaped, values))
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in ("inline", "visible", "dumps")
    return False


def test_no_file_is_named_for_nothing() -> None:
    names = {file.stem for folder in ("orchestrator", "launch", "stages") for file in (ROOT / folder).rglob("*.py")}
    assert not names & {"utils", "common", "helpers", "misc"}


#: The pages that people write; docs/tiny_paper is a report as `report` wrote it.
PAGES = [*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").rglob("*.md") if "tiny_paper" not in page.parts)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_links_to_files_and_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inner = [link.partition("#") for link in links if not link.startswith(("http:", "https:"))]
    assert not [file for file, _, _ in inner if not (page.parent / file).exists()]
    assert not [
        (file, heading) for file, _, heading in inner if heading and heading not in _headings(page.parent / file)
    ]


def _headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            links = re.findall(r"\]\(([^)#:\s]+)", page.read_text())
            todo += [(page.parent / link).resolve() for link in links]
    assert not [page for page in PAGES if page not in seen]


def test_the_readme_is_read_in_ten_minutes() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 180 and len(text.split()) <= 1800
