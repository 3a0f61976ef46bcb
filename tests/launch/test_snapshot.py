"""Snapshots: which files are frozen, and that a snapshot or a copy with another file in it is not run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import boot, snapshot
from launch.snapshot import Snapshot, Unfit
from tests.conftest import ROOT

#: Files with secrets in them, none of which git ignores.
SECRETS = (".git-credentials", ".hf_token", "id_ed25519_work", "credentials.json", "prod.env", "private/notes")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project under git, whose code is taken for the one that runs now."""
    root = tmp_path / "project"
    for file in ("launch/snapshot.py", "stages/toy.py", "conf/toy.yaml", "docs/guide.md"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("word = 1\n")
    (root / ".gitignore").write_text("ignored*\n__pycache__/\n")
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.setattr(snapshot, "__file__", str(root / "launch/snapshot.py"))
    monkeypatch.setattr(snapshot.provenance, "__file__", str(root / "launch/provenance.py"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return root


def files(taken: Snapshot) -> set[str]:
    """The project's files in a snapshot, in the copy that a job makes."""
    found = json.loads((taken.folder / boot.FILES).read_text())
    return {file for file in found if not file.endswith(".pyc")}


TRACKED = {".gitignore", "launch/snapshot.py", "stages/toy.py", "conf/toy.yaml", "docs/guide.md"}


def test_it_has_what_git_tracks_and_what_is_new_in_the_packages(project: Path, tmp_path: Path) -> None:
    for file in ("stages/new.py", "stages/ignored.py", "conf/new.yaml", "notes.txt", "scratch/plot.py"):
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).touch()
    told: list[str] = []
    taken = snapshot.take(tmp_path / "store", told.append)
    assert files(taken) == {*TRACKED, "stages/new.py", "conf/new.yaml"}
    assert told == [
        f"note: jobs do not get 2 files of {project} that git does not track, or that keep secrets: "
        "notes.txt, scratch/plot.py"
    ]


def test_it_has_what_is_new_in_a_folder_of_the_project_that_pythonpath_names(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "mine").mkdir()
    (project / "mine/more.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), str(project / "mine"), "/elsewhere"]))
    assert files(snapshot.take(tmp_path / "store")) == {*TRACKED, "mine/more.py"}


def test_a_job_that_submits_freezes_what_it_runs(project: Path, tmp_path: Path) -> None:
    (project / "docs" / boot.GIT).write_text("{}")  # a file of the project, of a store that is kept as an example
    subprocess.run(["git", "add", "docs"], cwd=project, check=True)
    shutil.copy(ROOT / "launch/boot.py", project / "launch")
    for name in ("launch/snapshot.py", "launch/provenance.py"):
        shutil.copy(ROOT / name, project / name)
    shutil.copytree(ROOT / "stages", project / "stages", dirs_exist_ok=True)
    (project / "stages/toy.py").write_text(
        "from pathlib import Path\nfrom launch import snapshot\n"
        f"print(snapshot.take(Path({str(tmp_path / 'inner')!r})).folder.name)\n"
    )
    taken = snapshot.take(tmp_path / "store")
    run = started(taken, PYTHONPATH=str(taken.folder))
    assert run.stdout.strip() == taken.folder.name, run.stderr


def test_secrets_are_in_no_file_of_the_store(project: Path, tmp_path: Path) -> None:
    for folder in ("", "conf/"):
        for name in SECRETS:
            file = project / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("canary")
            file.chmod(0o600)
    (project / "conf/private/notes").unlink()  # a name that tells nothing, in a folder of code
    (project / "conf/site").symlink_to(tmp_path / "netrc")
    (tmp_path / "netrc").write_text("canary")
    subprocess.run(["git", "add", "conf/prod.env"], cwd=project, check=True)
    snapshot.take(tmp_path / "store")
    held = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert held and not [file for file in held if b"canary" in file.read_bytes()]


def test_a_module_that_is_left_out_is_named_by_the_file_that_imports_it(project: Path, tmp_path: Path) -> None:
    (project / "scratch").mkdir()
    (project / "scratch/__init__.py").touch()
    snapshot.take(tmp_path / "store")
    (project / "stages/toy.py").write_text("def run():\n    from scratch.rewards import mine\n")
    (project / "scratch/rewards.py").touch()
    with pytest.raises(Unfit, match=r"^stages/toy.py imports scratch, but git does not track scratch/.*: git add it$"):
        snapshot.take(tmp_path / "store")
    subprocess.run(["git", "add", "scratch"], cwd=project, check=True)
    assert "scratch/rewards.py" in files(snapshot.take(tmp_path / "store"))


def test_no_mode_is_widened(project: Path, tmp_path: Path) -> None:
    (project / "conf/toy.yaml").chmod(0o600)
    (project / "stages/toy.py").chmod(0o775)
    taken = snapshot.take(tmp_path / "store")
    modes = {name: (taken.folder / name).stat().st_mode & 0o777 for name in ("conf/toy.yaml", "stages/toy.py")}
    assert modes == {"conf/toy.yaml": 0o600, "stages/toy.py": 0o700}


def edit(folder: Path) -> str:
    (folder / "stages/toy.py").write_text("word = 2\n")
    return "stages/toy.py was changed"


def edit_compiled(folder: Path) -> str:
    file = next((folder / "stages").glob("__pycache__/toy.*.pyc"))
    file.write_bytes(b"planted")
    return f"{file.relative_to(folder)} was changed"


def add(folder: Path) -> str:
    (folder / "sitecustomize.py").touch()
    return "sitecustomize.py was added"


def link(folder: Path) -> str:
    (folder / "yaml.py").symlink_to("/etc/passwd")
    return "yaml.py"


def link_folder(folder: Path) -> str:
    (folder / "yaml").symlink_to("/etc")
    return "yaml is neither a file nor a folder"


def remove(folder: Path) -> str:
    (folder / "stages/toy.py").unlink()
    return "stages/toy.py was removed"


def open_it(folder: Path) -> str:
    (folder / "stages").chmod(0o770)
    return "stages may be written by others"


def open_file(folder: Path) -> str:
    (folder / "stages/toy.py").chmod(0o660)
    return "stages/toy.py may be written by others"


def relist(folder: Path) -> str:
    """As if a whole snapshot of other code had been put there."""
    file = folder / boot.FILES
    file.write_text(file.read_text().replace("stages/toy.py", "stages/other.py"))
    (folder / "stages/toy.py").rename(folder / "stages/other.py")
    return boot.FILES


SPOILT = [edit, edit_compiled, add, link, link_folder, remove, open_it, open_file, relist]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_one_that_is_spoilt_is_not_taken_again_and_a_job_does_not_run_it(
    spoil: Callable[[Path], str], project: Path, tmp_path: Path
) -> None:
    taken = snapshot.take(tmp_path / "store")
    assert snapshot.take(tmp_path / "store") == taken
    assert started(taken).returncode == 0
    wrong = spoil(taken.folder)
    with pytest.raises(Unfit) as caught:
        snapshot.take(tmp_path / "store")
    assert wrong in str(caught.value) and str(taken.folder) in str(caught.value)
    job = started(taken)
    assert job.returncode == 1 and "ran" not in job.stdout
    (line,) = job.stderr.splitlines()
    assert line.startswith("the code that was submitted ") and wrong in line
    shutil.rmtree(taken.folder)
    assert snapshot.take(tmp_path / "store") == taken


def started(taken: Snapshot, module: str = "stages.toy", **environment: str) -> subprocess.CompletedProcess[str]:
    """What a job does that runs a module of a snapshot."""
    words = [str(taken.folder), taken.digest, module]
    command = [sys.executable, "-I", "-S", "-c", Path(boot.__file__).read_text(), *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def test_a_job_runs_a_copy_that_is_its_users_alone(project: Path, tmp_path: Path) -> None:
    (project / "stages/toy.py").write_text(
        "import os, stages.other\nfrom pathlib import Path\n"
        "print(Path.cwd(), os.environ['PYTHONPATH'], stages.other.__file__, oct(os.stat('.').st_mode))\n"
    )
    (project / "stages/other.py").touch()
    taken = snapshot.take(tmp_path / "store")
    places = tmp_path / "node"
    places.mkdir()
    run = started(taken, PYTHONPATH=f"{taken.folder}:{taken.folder}/conf:/elsewhere", TMPDIR=str(places))
    (copy,) = places.iterdir()
    assert run.stdout.split() == [
        *(str(copy), f"{copy}:{copy}/conf:/elsewhere", f"{copy}/stages/other.py", "0o40700"),
    ]
    started(taken, TMPDIR=str(places))
    assert [copy.exists(), len(list(places.iterdir()))] == [False, 1]  # the next job removes what was left


def test_a_copy_that_is_in_use_stays(project: Path, tmp_path: Path) -> None:
    (project / "stages/toy.py").write_text("import sys\nprint('up', flush=True)\nsys.stdin.read()\n")
    taken = snapshot.take(tmp_path / "store")
    places = tmp_path / "node"
    places.mkdir()
    words = [str(taken.folder), taken.digest, "stages.toy"]
    command = [sys.executable, "-I", "-S", "-c", Path(boot.__file__).read_text(), *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(places)}, text=True, **pipes) as first:
        assert first.stdout is not None and first.stdout.readline() == "up\n"
        (held,) = places.iterdir()
        started(taken, "stages.other", TMPDIR=str(places))
        assert held.is_dir() and len(list(places.iterdir())) == 2
        assert first.stdin is not None
        first.stdin.close()


def test_a_folder_for_copies_that_others_may_move_is_not_used(project: Path, tmp_path: Path) -> None:
    (project / "stages/toy.py").write_text("from pathlib import Path\nprint(Path.cwd())\n")
    taken = snapshot.take(tmp_path / "store")
    (tmp_path / "open/node").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    where = started(taken, TMPDIR=str(tmp_path / "open/node")).stdout.strip()
    assert Path(where).parent in (Path("/tmp"), Path("/dev/shm"))
    shutil.rmtree(where)


def test_a_folder_that_another_job_takes_for_left_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def mkdtemp(**given: str) -> str:
        made.append(real(**given))
        if len(made) == 1:
            os.rmdir(made[0])
        if len(made) == 2:
            held.append(os.open(made[1], os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)
        return made[-1]

    held: list[int] = []
    real = boot.tempfile.mkdtemp
    monkeypatch.setattr(boot.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(boot.tempfile, "mkdtemp", mkdtemp)
    assert boot._folder() == made[2] and len(made) == 3
    os.close(held[0])
