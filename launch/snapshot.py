"""Snapshots: the code that was submitted is the code that runs, whatever is edited while jobs wait.

    <store>/snapshots/<hash>/     the project's files: tracked, and untracked ones that git does not ignore

A snapshot is named by its contents, so that equal trees share one. Files that are there to keep secrets are left out.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

from launch import provenance, sharing
from stages import artifact

#: Where git is not there to say which files are the project's, these are.
PACKAGES = ("conf", "hydra_plugins", "launch", "orchestrator", "stages")
SECRETS = (".env", ".env.*", ".envrc", ".netrc", ".npmrc", ".pypirc", "*.pem", "*.key", "id_rsa", "id_ed25519")
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
        sharing.hand_over(draft, store)  # a working tree of one's own may be readable for nobody else
        try:
            os.rename(draft, final)
        except OSError:  # somebody was faster, with the same files
            shutil.rmtree(draft)
    with contextlib.suppress(PermissionError):  # somebody else's
        os.utime(final)  # gc leaves alone what was chosen a moment ago
    return final


def _files(root: Path) -> list[str]:
    """The project's files, relative to `root`, in a fixed order."""
    try:
        listed = provenance.ask_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = []
    if (root / provenance.SNAPSHOT).is_file():  # a job that submits to another store
        listed = _below(root)
    elif not any(listed):
        listed = [f"{package}/{file}" for package in PACKAGES for file in _below(root / package)]
    kept = {file for file in listed if file and (root / file).is_file() and not _is_secret(Path(file).name)}
    return sorted(kept)


def _below(folder: Path) -> list[str]:
    """The files in a folder, but for what Python and this module put there."""
    made = {"__pycache__", provenance.SNAPSHOT}
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if made.isdisjoint(file.parts)]


def _is_secret(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in SECRETS)


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
