"""Snapshots: the code that was submitted is the code that runs, whatever is edited while jobs wait.

    <store>/snapshots/<hash>/     the project's files: tracked, and untracked ones that git does not ignore

A snapshot is named by its contents, so that equal trees share one. Files that are there to keep secrets are left out.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from launch import provenance
from stages import artifact

#: Where git is not there to say which files are the project's, these are.
PACKAGES = ("conf", "hydra_plugins", "launch", "orchestrator", "stages")
SECRETS = (".env", ".netrc", ".npmrc", ".pypirc")
#: A project is code: more bytes than this are data or weights that somebody forgot to ignore.
MOST_BYTES = 100 * 2**20


class TooLarge(Exception):
    """The project's folder has files that are not code."""


def take(store: Path) -> Path:
    """The folder of the snapshot of the code that is running now, made if it is not there yet.

    Raises:
        TooLarge: with the largest file.
    """
    root = Path(__file__).parent.parent
    if root.parent == store / "snapshots":  # we run from one: a job that submits
        return root
    files = _files(root)
    _check_size(root, files)
    final = store / "snapshots" / _hash(root, files)
    if not final.is_dir():
        draft = final.with_name(f".{secrets.token_hex(6)}")
        for file in files:
            (draft / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / file, draft / file)
        (draft / provenance.SNAPSHOT).write_text(json.dumps(provenance.git()))
        # Now, not in the first jobs, which may be many at once, and of users who may not write here.
        compileall.compile_dir(draft, quiet=2)
        try:
            os.rename(draft, final)
        except OSError:  # somebody was faster, with the same files
            shutil.rmtree(draft)
    os.utime(final)  # gc leaves alone what was chosen a moment ago
    return final


def _files(root: Path) -> list[str]:
    """The project's files, relative to `root`, in a fixed order."""
    try:
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = []
    if not any(listed):
        found = (
            file for package in PACKAGES for file in (root / package).rglob("*") if "__pycache__" not in file.parts
        )
        listed = [file.relative_to(root).as_posix() for file in found]
    kept = {file for file in listed if file and (root / file).is_file() and not _is_secret(Path(file).name)}
    return sorted(kept)


def _is_secret(name: str) -> bool:
    return name in SECRETS or name.startswith(".env.")


def _check_size(root: Path, files: list[str]) -> None:
    sizes = {file: (root / file).stat().st_size for file in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise TooLarge(
            f"{root} has {sum(sizes.values()) / 1e6:.0f} MB of files that git does not ignore, the largest {largest}; "
            f"the code is frozen for each submission, up to {MOST_BYTES / 1e6:.0f} MB: ignore what is not code"
        )


def _hash(root: Path, files: list[str]) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file}\0{artifact.sha256(root / file)}\n".encode())
    return whole.hexdigest()[:16]
