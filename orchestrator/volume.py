"""The volume that a store lies on: whether it can be written, seen by other machines, and shared by several people."""

from __future__ import annotations

import fcntl
import grp
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator import permission
from orchestrator.finding import Finding

#: File systems that other machines do not see (unless this one serves them).
LOCAL = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "squashfs"}
#: File systems that are there to be seen from several machines.
NETWORK = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "wekafs", "pvfs2", "afs", "panfs"}
#: Bytes below which there is hardly room for a checkpoint.
LITTLE = 10 * 2**30


def findings(root: Path, remote: bool) -> Iterator[Finding]:
    """What is to be said about a store; `remote`: whether other machines are to write into it."""
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    refused = permission.unwritable(root) or _refused(there)
    if refused is None:
        yield Finding(what="store", value=f"{root}: can be written" + ("" if there == root else ", is not there yet"))
    else:
        reads = "; `plan`, `report` and `compare` can read it" if there == root else ""
        why = refused.removeprefix(f"store={root}: ")
        yield Finding(what="store", value=str(root), means=f"nothing can be run in it: {why}{reads}", fatal=True)
    yield file_system("store's file system", there, remote)
    yield _sharing(root)
    free = shutil.disk_usage(there).free
    little = "little for checkpoints; gc shows what can go" if free < LITTLE else ""
    yield Finding(what="free space", value=f"{free / 1e9:.1f} GB", means=little)


def size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(place, file)).st_size
            except FileNotFoundError:  # somebody is tidying up as well
                continue
    return total


def file_system(what: str, path: Path, remote: bool) -> Finding:
    """The type of the file system of `path`, and whether the machines of a cluster see it."""
    kind = type_of(path)
    means = ""
    if remote and kind in LOCAL:
        means = f"{kind} is of this machine alone, as a rule: jobs on other machines may not see {path}; --probe tells"
    elif remote and kind not in NETWORK:
        means = f"whether other machines see {path} is not known; --probe tells"
    return Finding(what=what, value=kind, means=means)


def type_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that `path` lies on: that of the mount with the longest name that leads there."""
    path = path.resolve()
    found = [(_unquoted(line.split()[1]), line.split()[2]) for line in mounts.read_text().splitlines()]
    leading = [
        (len(Path(place).parts), number, kind) for number, (place, kind) in enumerate(found) if _leads(place, path)
    ]
    return max(leading)[2] if leading else "unknown"


def _leads(place: str, path: Path) -> bool:
    return path.is_relative_to(place)


def _unquoted(text: str) -> str:
    """Blanks in the names of mounts are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _refused(folder: Path) -> str | None:
    """Why a folder cannot hold a store: it takes writing, hard links (claims), renames (publishing) and locks."""
    step = "writing"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as place:
            file = Path(place, "file")
            file.write_text("x")
            step = "hard links, which claims need"
            os.link(file, Path(place, "link"))
            step = "locks"
            with file.open() as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            step = "renames"
            os.rename(file, Path(place, "renamed"))
    except OSError as error:
        return f"no {step} in {folder}: {error.strerror}"
    return None


def _sharing(root: Path) -> Finding:
    """Whether several people can work in the store."""
    try:
        seen = root.stat()
    except OSError:
        return Finding(what="shared by", value="nobody yet; chgrp LAB and chmod 3775 make it a group's")
    if not seen.st_mode & stat.S_IWGRP:
        return Finding(what="shared by", value="its owner alone; chgrp LAB and chmod 3775 make it a group's")
    group = _group(seen.st_gid)
    if not seen.st_mode & stat.S_ISGID:
        means = "new folders get the group of whoever makes them, where others may not write; chmod g+s " + str(root)
        return Finding(what="shared by", value=f"the group {group}, without setgid", means=means)
    return Finding(what="shared by", value=f"the group {group}")


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
