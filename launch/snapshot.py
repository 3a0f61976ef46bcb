"""Snapshots: the code that was submitted is the code that runs, whatever is edited while jobs wait.

    <store>/users/<login>/snapshots/<hash>/     the project's files, compiled

It has the files that git tracks, and of the others those below the project's own packages and below folders of
PYTHONPATH that lie in the project, if git does not ignore them. What else git does not track is left out and named, and
so are files that look as if they keep secrets, tracked or not, and links that lead out of the project.

Workers of this machine run from the working tree itself, and need none.

A snapshot is its user's alone: no other user may read it, whatever could be read of the project, and whoever runs from
it sees that it is what was submitted (see `launch.boot`). It is named by its contents, so that equal trees share one.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from py_compile import PycInvalidationMode

from launch import boot, provenance
from stages import artifact, own

#: The project's own packages: what is below them is its code, whether git tracks it or not.
PACKAGES = ("conf", "hydra_plugins", "launch", "orchestrator", "stages")
#: The folder of a user's snapshots.
SNAPSHOTS = "snapshots"
#: Names of files that keep secrets; a Python file never does.
SECRETS = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *(
        ".git-credentials",
        "credentials",
        "credentials.*",
        "*_credentials.*",
        "secrets.*",
        "*.token",
        "*_token",
        "token",
    ),
)
#: A project is code: more bytes than this are data or weights that somebody added by mistake.
MOST_BYTES = 100 * 2**20
_BY_CONTENT = PycInvalidationMode.CHECKED_HASH
#: Names that are told of the files that are left out.
_TOLD = 3


class Unfit(Exception):
    """The code cannot be frozen: it has files that are not code, it needs one that is left out, or it was changed."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A folder of frozen code, and the SHA-256 of the list of its files, which names their contents."""

    folder: Path
    digest: str


def take(store: Path, tell: Callable[[str], None] = lambda line: None) -> Snapshot:
    """The snapshot of the code that is running now, made if it is not there yet. `tell` hears what is left out.

    Raises:
        Unfit: with the file.
        NotOwn: the folder of this user's snapshots is not its own.
        OSError: it cannot be written.
    """
    root = Path(__file__).parent.parent
    files, out = _files(root)
    _check_size(root, files)
    _check_needs(root, files, out)
    if out:
        names = ", ".join(out[:_TOLD]) + (", ..." if len(out) > _TOLD else "")
        tell(f"note: jobs do not get {len(out)} files of {root} that git does not track, or that keep secrets: {names}")
    hashes = {file: artifact.sha256(root / file) for file in files}
    final = own.folder(store, SNAPSHOTS) / _digest(_listed(hashes))[:16]
    if not final.is_dir():
        _make(root, hashes, final)
    with contextlib.suppress(OSError):
        os.utime(final)  # gc leaves alone what was chosen a moment ago
    return Snapshot(folder=final, digest=_verified(final, hashes))


def folders(store: Path) -> list[Path]:
    """Everybody's snapshots, and those of an earlier version, which were everybody's."""
    places = [*store.glob(f"{own.USERS}/*/{SNAPSHOTS}"), store / SNAPSHOTS]
    return sorted(each for place in places for each in place.glob("*") if each.is_dir() and not each.is_symlink())


def _make(root: Path, hashes: dict[str, str], final: Path) -> None:
    """Copy and compile the files into a draft, and give it its name."""
    draft = final.with_name(f".{secrets.token_hex(6)}")
    draft.mkdir(mode=0o700)
    try:
        for file in hashes:
            (draft / file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(root / file, draft / file)
        # Now, not in the first jobs, which may be many at once. By content: a job's copy has other times.
        for package in PACKAGES:
            compileall.compile_dir(draft / package, quiet=2, stripdir=str(draft), invalidation_mode=_BY_CONTENT)
        made = [file.relative_to(draft).as_posix() for file in draft.rglob("*") if file.is_file()]
        (draft / boot.FILES).write_text(_listed({file: artifact.sha256(draft / file) for file in made}))
        (draft / boot.GIT).write_text(json.dumps(provenance.git()))
        for place, folders, names in os.walk(draft):
            for name in (*folders, *names):
                os.chmod(f"{place}/{name}", os.lstat(f"{place}/{name}").st_mode & 0o700)
        with contextlib.suppress(OSError):  # somebody was faster, with the same files
            os.rename(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _verified(folder: Path, hashes: dict[str, str]) -> str:
    """The digest of a snapshot that has these files, compiled, and nothing else."""
    remedy = f"remove {folder} and run the command again"
    try:
        listed = (folder / boot.FILES).read_text()
        digest = _digest(listed)
        boot.check(str(folder), digest)
        listed_hashes = json.loads(listed)
        held = {file: listed_hashes[file] for file in _frozen(listed_hashes)}
    except (boot.Changed, OSError, ValueError, AttributeError) as error:
        raise Unfit(f"the frozen code is not what it was: {error}; {remedy}") from None
    if held != hashes:
        raise Unfit(f"the frozen code is not what it was: {folder / boot.FILES} names other files; {remedy}")
    return digest


def _files(root: Path) -> tuple[list[str], list[str]]:
    """The files of the project that are frozen, and those that are left out, relative to `root`, in a fixed order."""
    if (root / boot.FILES).is_file():  # a job that submits
        tracked, others = _frozen(json.loads((root / boot.FILES).read_text())), []
    else:
        tracked, others = _listed_by_git(root, "--cached"), _listed_by_git(root, "--others", "--exclude-standard")
    if not tracked and not others:  # no repository, or an installed project
        tracked = [f"{package}/{file}" for package in PACKAGES for file in _below(root / package)]
    code = tuple(f"{folder}/" for folder in (*PACKAGES, *_searched(root)))
    wanted = {
        file for file in (*tracked, *(each for each in others if each.startswith(code))) if (root / file).is_file()
    }
    kept = {file for file in wanted if not _keeps_secrets(Path(file).name) and _lies_in(root, root / file)}
    return sorted(kept), sorted((wanted - kept) | {file for file in others if not file.startswith(code)})


def _listed_by_git(root: Path, *which: str) -> list[str]:
    """The files that git lists; none where there is no git, or no repository."""
    try:
        return [file for file in provenance.ask_git(root, "ls-files", "-z", *which).split("\0") if file]
    except (OSError, subprocess.CalledProcessError):
        return []


def _searched(root: Path) -> list[str]:
    """The folders of the project that PYTHONPATH names, but for the project itself."""
    named = [Path(each).resolve() for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    top = root.resolve()
    return [each.relative_to(top).as_posix() for each in named if each != top and each.is_relative_to(top)]


def _below(folder: Path) -> list[str]:
    """The files in a folder, but for what Python put beside code that is edited."""
    return _frozen(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def _frozen(files: Iterable[str]) -> list[str]:
    """Those of some files that are the project's own, not compiled of them."""
    return [file for file in files if "__pycache__" not in Path(file).parts]


def _keeps_secrets(name: str) -> bool:
    return not name.endswith(".py") and any(fnmatch(name, pattern) for pattern in SECRETS)


def _lies_in(root: Path, file: Path) -> bool:
    """Whether a file is one of the project's, not a link to what lies elsewhere."""
    return file.resolve().is_relative_to(root.resolve())


def _check_size(root: Path, files: list[str]) -> None:
    sizes = {file: (root / file).stat().st_size for file in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise Unfit(
            f"{root} has {sum(sizes.values()) / 1e6:.0f} MB of files that git tracks, or that lie in its packages, the "
            f"largest {largest}; the code is frozen for each submission, up to {MOST_BYTES / 1e6:.0f} MB: let git "
            "ignore what is not code"
        )


def _check_needs(root: Path, files: Iterable[str], out: Iterable[str]) -> None:
    """Refuse to leave a module out that code which is frozen imports from the project's own folder."""
    left = {re.sub(r"(/.*)?(\.py)?$", "", file, count=1): file for file in out if file.endswith(".py")}
    if not left:
        return
    names = re.compile(rf"^\s*(?:from|import)\s+({'|'.join(map(re.escape, left))})\b", re.MULTILINE)
    for file in files:
        found = names.search((root / file).read_text(errors="replace")) if _is_imported(file) else None
        if found is not None:
            module = left[found[1]]
            raise Unfit(
                f"{file} imports {found[1]}, but git does not track {module}, so that jobs have none: git add it"
            )


def _is_imported(file: str) -> bool:
    return file.endswith(".py") and file.startswith(tuple(f"{package}/" for package in PACKAGES))


def _listed(hashes: dict[str, str]) -> str:
    return json.dumps(hashes, sort_keys=True, separators=(",", ":"))


def _digest(listed: str) -> str:
    return hashlib.sha256(listed.encode()).hexdigest()
