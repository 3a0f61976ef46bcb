"""Sources: what comes from outside has identity by its content, never by its path.

A file or folder is the SHA-256 of its bytes (remembered by path, size, mtime and inode), a hub repository its commit.
So moved equal bytes re-run nothing, and edited bytes re-run what depends on them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.node import InputSpec
from orchestrator.experiment import ConfigError, Data, is_hub_id
from stages import content, rows
from stages.contract import StageError
from stages.identity import fingerprint, identity
from stages.store import stamp

if TYPE_CHECKING:
    from orchestrator.graph import Node

VERSION = 1

#: Data files up to this size are checked row by row while planning; larger ones when the stage reads them.
CHECKED_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Source:
    """A node that nobody runs: bytes on disk, a hub commit, or a file inside the artifact of `origin`.

    `unresolved` says why the content is not known (no network, no access); the fingerprint is then provisional.
    """

    name: str
    content: dict[str, Any]
    path: Path | None = None
    hub: str | None = None
    origin: Node | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    unresolved: str | None = None

    stage = "source"

    @cached_property
    def fingerprint(self) -> str:
        inputs = {} if self.origin is None else {"artifact": self.origin.fingerprint}
        return fingerprint(identity("source", VERSION, {**self.content, "reading": self.reading}, inputs))

    def spec(self) -> InputSpec:
        """How a worker finds it."""
        return InputSpec(
            fingerprint=self.fingerprint,
            stage=self.origin.stage if self.origin else None,
            artifact=self.origin.fingerprint if self.origin else None,
            path=str(self.path) if self.path else None,
            hub=self.hub,
            revision=self.content.get("commit"),
            reading=self.reading,
            content=self.content if self.path else {},
        )


class Sources:
    """Resolves what the config names. Hashes are remembered in the store, if there is one already."""

    def __init__(self, store: Path) -> None:
        self._memory = content.memory(store)
        self._offline: str | None = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE", "0") != "0" else None

    def model(self, text: str, key: str) -> Source:
        """The model that `key` names: a hub id, a folder in Hugging Face layout, or an artifact of such.

        Raises:
            ConfigError: it is neither.
        """
        path = Path(text).expanduser().absolute()
        if is_hub_id(text):
            return self._hub(text, None, "model", {}, key)
        if not path.is_dir():
            raise ConfigError([f"{key}={text!r}: neither a folder nor a hub id (owner/name)"])
        path = path / "model" if (path / "model" / "config.json").is_file() else path
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            raise ConfigError([f"{key}={text!r}: no checkpoint there; expected config.json and *.safetensors"])
        return Source(name=text, path=path, content={"files": content.of_folder(path, self._memory)})

    def data(self, data: Data, key: str, origin: Node | None) -> Source:
        """The data source that `key` describes; `origin` is the node of `data.stage`, if it names one.

        Raises:
            ConfigError: it is missing, empty, not UTF-8 or lacks a column, as far as that is cheap to see.
        """
        named = [name for name in ("path", "hub", "stage") if getattr(data, name) is not None]
        if len(named) != 1:
            raise ConfigError([f"{key}: give exactly one of path, hub and stage, not {', '.join(named) or 'none'}"])
        reading = {"file": data.file, "config": data.config, "split": data.split, "fields": dict(data.fields)}
        if data.hub is not None:
            return self._hub(data.hub, data.revision, "dataset", reading, key)
        if origin is not None:
            return Source(name=f"{data.stage}/{data.file}", origin=origin, content={}, reading=reading)
        assert data.path is not None
        path = Path(data.path).expanduser().absolute()
        file = path / data.file if data.file else path
        self._check(file, data.fields, f"{key}={data.path}")
        digest = content.of_file(file, self._memory)
        return Source(name=data.path, path=path, content={"sha256": digest}, reading=reading)

    def remember(self) -> None:
        """Keep the hashes for the next time, if that is possible: without them the bytes are read again."""
        self._memory.keep()

    def _hub(self, id: str, revision: str | None, kind: str, reading: dict[str, Any], key: str) -> Source:
        commit = revision if revision and re.fullmatch(r"[0-9a-f]{40}", revision) else None
        commit = commit or self._commit(id, revision or "main", kind)
        why = f"{key}={id}: no file or folder has this name, and {self._offline}, so its commit is unknown"
        unresolved = None if commit else why
        known = {"hub": id, "type": kind, "commit": commit}
        return Source(name=id, hub=id, content=known, reading=reading, unresolved=unresolved)

    def _commit(self, id: str, revision: str, kind: str) -> str | None:
        """The commit a hub revision points to: asked of the hub, or as the local cache last saw it."""
        from huggingface_hub import HfApi, constants  # slow to import, and not needed without hub ids
        from huggingface_hub.errors import HfHubHTTPError

        if self._offline is None:
            try:
                return HfApi().repo_info(id, revision=revision, repo_type=kind, timeout=5).sha
            except HfHubHTTPError as error:
                raise ConfigError([f"{id}: the hub refuses: {str(error).splitlines()[0]}"]) from None
            except (
                Exception
            ) as error:  # no answer at all; its type is that of whichever HTTP library the hub's client has
                self._offline = f"the hub cannot be reached ({type(error).__name__})"
        cached = Path(constants.HF_HUB_CACHE) / f"{kind}s--{id.replace('/', '--')}" / "refs" / revision
        return cached.read_text().strip() if cached.is_file() else None

    def _check(self, file: Path, fields: dict[str, str], where: str) -> None:
        """Refuse a data file that a stage could not read, as far as that is cheap to see; a pass is remembered."""
        _check_file(file, where)
        if file.suffix != ".jsonl" or file.stat().st_size > CHECKED_BYTES:
            return
        key = f"{file}:{stamp(file.stat())}:rows {json.dumps(fields, sort_keys=True)}"
        if not self._memory.get(key):
            _check_rows(file, fields, where)
            self._memory.put(key, True)


def _check_file(file: Path, where: str) -> None:
    """Refuse what is no data file, without reading it."""
    if not file.is_file():
        raise ConfigError([f"{where}: no such file: {file}"])
    if not file.name.endswith(rows.SUFFIXES):
        raise ConfigError([f"{where}: a data file ends in one of {', '.join(rows.SUFFIXES)}"])
    if file.stat().st_size == 0:
        raise ConfigError([f"{where}: the file is empty"])


def _check_rows(file: Path, fields: dict[str, str], where: str) -> None:
    """Refuse a file of JSON lines that has no rows, or one that lacks a column."""
    count = 0
    try:
        for row in rows.read(file):
            count += 1
            rows.render(fields, row, where=f"{where}, row {count}")
    except StageError as error:
        raise ConfigError([str(error)]) from None
    if count == 0:
        raise ConfigError([f"{where}: the file has no rows"])
