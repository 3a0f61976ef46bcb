"""Artifacts: complete or absent, never half.

A node writes into a dotted folder. Publishing hashes its files, writes `record.json` last, syncs everything to disk
and renames the folder into place: one atomic step. Done means a valid record, nothing else. Files under `state/`
(optimizer, RNG) belong to the artifact but not to its outputs: they may be deleted at any time.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from stages import jsonfile, spoilt
from stages.identity import fingerprint

RECORD = "record.json"
STATE = "state"
#: How what is being removed is called, until it is gone.
GONE = ".gone-"
SCHEMA = 1

#: Files that are hashed at once, at most, and files that are on their way to the disk at once.
HASHING, SYNCING = 4, 2

#: Numbers of seconds and of bytes that can be shown.
_Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
_Bytes = Annotated[float, Field(ge=0, lt=1e18, allow_inf_nan=False)]


class _Identity(TypedDict):
    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str]


class _Output(TypedDict):
    path: str
    size: int


class _Record(TypedDict):
    """The keys of a record, whatever its stage: `read` refuses one of other types. It may have more."""

    schema: Literal[1]
    fingerprint: str
    identity: _Identity
    label: str
    config: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    outputs: list[_Output]
    summary: dict[str, Any]


#: What a record says of how it was made. `read` leaves out what is of another type: then it is not known.
_MADE: dict[str, Any] = {
    **dict.fromkeys(("seconds", "started"), _Seconds),
    **dict.fromkeys(("peak_memory", "peak_gpu_memory"), _Bytes),
    **dict.fromkeys(("continued_from", "git"), dict[str, Any] | None),
    **dict.fromkeys(("code", "resources"), dict[str, Any]),
    **dict.fromkeys(("host", "python"), str),
    "packages": dict[str, str],
    "attempts": int,
}


def read(folder: Path) -> dict[str, Any] | None:
    """The valid record of `folder`, or None; see `defect` for what makes one invalid, which is noted."""
    try:
        record: dict[str, Any] = jsonfile.read(folder / RECORD)
        why: object = defect(folder, record)
    except (OSError, ValueError) as error:
        why = "it is missing" if isinstance(error, FileNotFoundError) and os.path.isdir(folder) else error
    if why is None:
        return {key: value for key, value in record.items() if key not in _MADE or _is(_MADE[key], value)}
    spoilt.note(folder / RECORD, why)
    return None


@functools.cache  # made when a record is read, which the plan of a store that has not changed does not do
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _is(kind: Any, value: Any) -> bool:
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def defect(folder: Path, record: Any) -> str | None:
    """What is wrong with a record: its keys, its fingerprint, or an output that is missing or of another size."""
    try:
        _adapter(_Record).validate_python(record, strict=True)
        own = fingerprint(record["identity"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"not a record of this schema: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, RecursionError):
        return "not a record of this schema"
    if own != record["fingerprint"]:
        return "the fingerprint is not that of the identity"
    return lacking(str(folder), {output["path"]: output["size"] for output in record["outputs"]})


def lacking(folder: str, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with the outputs in `folder`, given their sizes by path: one is missing, or of another size.

    Asked of every output of every artifact that a plan finds, so without `pathlib`, which takes longer than the disk.
    """
    for path, size in sizes.items():
        try:
            found = os.stat(f"{folder}/{path}")
        except (OSError, ValueError):  # a name that no file can have
            return f"{path} is missing"
        if not stat.S_ISREG(found.st_mode):  # a pipe has no bytes, and who reads it waits for ever
            return f"{path} is no file"
        if found.st_size != size:
            return f"{path} has {found.st_size} bytes, not {size}"
    return None


def publish(draft: Path, final: Path, record: dict[str, Any]) -> Path:
    """Complete `record` with the outputs of `draft`, write it, sync, and rename `draft` to `final`; returns the place.

    A folder without a valid record at `final` (a damaged artifact) is replaced. If it is somebody else's, the artifact
    is published beside it. One that somebody has published meanwhile stays, and the draft goes.
    """
    outputs = list(_outputs(draft))
    with ThreadPoolExecutor(SYNCING) as pool:  # while the disk writes, the processor hashes
        synced = [pool.submit(_sync, file) for file in _files(draft)]
        record = {"schema": SCHEMA, **record, "outputs": _described(draft, outputs)}
        for each in synced:
            each.result()
    (draft / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    _sync(draft / RECORD)
    for folder in [*(path for path in draft.rglob("*") if path.is_dir()), draft]:
        _sync(folder)
    final = _place(draft, final, record["fingerprint"])
    _sync(final.parent)
    return final


def _place(draft: Path, final: Path, fingerprint: str) -> Path:
    """Rename `draft` to `final`, or to a name beside what is there; returns which."""
    damaged = draft.with_name(draft.name + ".damaged")
    for name in (final.name, f"other.{secrets.token_hex(2)}-{final.name}"):
        place = final.with_name(name)
        if os.path.lexists(place):
            published = read(place)
            if published is not None and published["fingerprint"] == fingerprint:
                shutil.rmtree(draft)
                return place
            try:
                os.rename(place, damaged)
            except OSError:  # somebody else's, who alone can remove it
                continue
        os.rename(draft, place)
        if damaged.is_dir() and not damaged.is_symlink():
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            damaged.unlink(missing_ok=True)
        return place
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))


def remove_state(folder: Path) -> None:
    """Remove an artifact's training state, if it is ours to remove: at once out of sight, then from the disk."""
    gone = folder.parent / f"{GONE}{secrets.token_hex(6)}"
    try:
        os.rename(folder / STATE, gone)
    except OSError:  # there is none, or somebody else's
        return
    shutil.rmtree(gone, ignore_errors=True)


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(files: Iterable[Path]) -> Iterator[str]:
    """The SHA-256 of each file, several at once: hashing takes longer than reading."""
    with ThreadPoolExecutor(min(HASHING, len(os.sched_getaffinity(0)))) as pool:
        yield from pool.map(sha256, files)


def _files(draft: Path) -> list[Path]:
    """All files of `draft`, in a fixed order."""
    return [file for file in sorted(draft.rglob("*")) if file.is_file()]


def _outputs(draft: Path) -> Iterator[Path]:
    """The files of `draft` that are outputs."""
    return (file for file in _files(draft) if file.relative_to(draft).parts[0] not in (STATE, RECORD))


def _described(draft: Path, outputs: list[Path]) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of each output."""
    return [
        {"path": file.relative_to(draft).as_posix(), "size": file.stat().st_size, "sha256": digest}
        for file, digest in zip(outputs, hashes(outputs), strict=True)
    ]


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk: a rename must not be durable before its contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
