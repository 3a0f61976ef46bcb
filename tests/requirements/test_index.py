"""`make setup` takes the files that the locks name, whatever an index offers under their names."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
Setup = Callable[[str], subprocess.CompletedProcess[str]]


def wheel(folder: Path, version: str, *, build: str = "", says: str) -> Path:
    """A wheel of the package `demo` in a folder that is an index. Its page gives hashes, as that of PyPI does."""
    home = folder / "demo"
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"demo-{version}{build}-py3-none-any.whl"
    info = f"demo-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo.py", f"says = {says!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    links = [f'<a href="{each.name}#sha256={digest(each)}">{each.name}</a>' for each in home.glob("*.whl")]
    (home / "index.html").write_text("".join(links))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def genuine(tmp_path: Path) -> Path:
    """An index with the package that is locked."""
    return wheel(tmp_path / "genuine", "1.0", says="genuine").parent.parent


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An index with the same version, which pip would prefer for its build number, and with a newer one."""
    wheel(tmp_path / "hostile", "1.0", build="-9", says="canary")
    return wheel(tmp_path / "hostile", "2.0", says="canary").parent.parent


@pytest.fixture
def setup(tmp_path: Path, genuine: Path) -> Setup:
    """`make setup` with the project's Makefile and a lock of `demo`."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    locks = tmp_path / "requirements"
    locks.mkdir()
    for lock in (ROOT / "requirements").glob("*.txt"):
        (locks / lock.name).touch()
    (locks / "build.txt").write_text(f"demo==1.0 --hash=sha256:{digest(next(genuine.rglob('*.whl')))}\n")
    (tmp_path / "pyproject.toml").touch()

    def run(pip: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "setup", f"PYTHON={sys.executable}", "DEVICE=cpu", f"PIP={pip}"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
        )

    return run


def installed(home: Path) -> str:
    """What the installed `demo` says, or nothing."""
    code = "import demo; print(demo.says, end='')"
    return subprocess.run([home / ".venv/bin/python", "-c", code], capture_output=True, text=True).stdout


def test_an_extra_index_cannot_put_its_file_in_place_of_a_locked_one(
    tmp_path: Path, setup: Setup, genuine: Path, hostile: Path
) -> None:
    setup(f"--index-url {genuine.as_uri()} --extra-index-url {hostile.as_uri()}")
    assert installed(tmp_path) == "genuine"


def test_an_index_with_other_files_alone_is_refused(tmp_path: Path, setup: Setup, hostile: Path) -> None:
    done = setup(f"--index-url {hostile.as_uri()}")
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr
    assert installed(tmp_path) == ""
