"""Sources: what comes from outside has identity by its content, never by its path.

A file or folder is the SHA-256 of its bytes (remembered by path, size, mtime and inode), a hub repository its commit.
So moved equal bytes re-run nothing, and edited bytes re-run what depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.node import InputSpec
from orchestrator.experiment import Data, is_hub_id
from orchestrator.refusal import ConfigError
from stages import content, hub, rows
from stages.contract import StageError
from stages.hub import Repository
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

    `revision` is the branch, tag or commit that was asked for. `unresolved` says why the content is not known (no
    network, no access); the fingerprint is then provisional.
    """

    name: str
    content: dict[str, Any]
    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    origin: Node | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    unresolved: str | None = None

    stage = "source"

    @cached_property
    def fingerprint(self) -> str:
        inputs = {} if self.origin is None else {"artifact": self.origin.fingerprint}
        fields = self.reading.get("fields", {})
        # As pairs: a field sees those before it, so their order matters, and that of a JSON object does not.
        reading = {**self.reading, "fields": [[*pair] for pair in fields.items()]} if fields else self.reading
        return fingerprint(identity("source", VERSION, {**self.content, "reading": reading}, inputs))

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
        self._offline: str | None = hub.OFFLINE if hub.offline() else None
        self._commits: dict[Repository, str | None] = {}

    def model(self, text: str, key: str) -> Source:
        """The model that `key` names: a hub id, a folder in Hugging Face layout, or an artifact of such.

        Raises:
            ConfigError: it is neither.
        """
        path = Path(text).expanduser().absolute()
        if is_hub_id(text):
            return self._hub(Repository(id=text, kind="model", revision="main"), {}, key)
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
        _check_data(data, key)
        reading = {"file": data.file, "config": data.config, "split": data.split, "fields": dict(data.fields)}
        if data.path is not None:  # also in place of a hub's data set
            return self._local(data.path, reading, key)
        if data.hub is not None:
            repository = Repository(id=data.hub, kind="dataset", revision=data.revision or "main")
            return self._hub(repository, reading, key)
        return Source(name=f"{data.stage}/{data.file}", origin=origin, content={}, reading=reading)

    def remember(self) -> None:
        """Keep the hashes for the next time, if that is possible: without them the bytes are read again."""
        self._memory.keep()

    def _local(self, text: str, reading: dict[str, Any], key: str) -> Source:
        """A file, a file in a folder, or a folder that is laid out like a data set of the hub."""
        path = Path(text).expanduser().absolute()
        file = path / reading["file"] if reading["file"] else path
        if file.is_dir():
            found = {"files": content.of_folder(file, self._memory)}
            if not found["files"]:
                raise ConfigError([f"{key}={text}: the folder is empty"])
            return Source(name=text, path=file, content=found, reading={**reading, "file": None})
        self._check(file, reading["fields"], f"{key}={text}")
        digest = content.of_file(file, self._memory)
        return Source(name=text, path=path, content={"sha256": digest}, reading=reading)

    def _hub(self, asked: Repository, reading: dict[str, Any], key: str) -> Source:
        commit = asked.revision if hub.is_commit(asked.revision) else self._commit(asked, key)
        unknown = (
            f"no file or folder has this name, and {self._offline}, so its commit is unknown; "
            "where there is a network, fetch notes it down"
        )
        return Source(
            name=asked.id,
            hub=asked.id,
            revision=asked.revision,
            content={"hub": asked.id, "type": asked.kind, "commit": commit},
            reading=reading,
            unresolved=None if commit else f"{key}={asked.id}: {unknown}",
        )

    def _commit(self, asked: Repository, key: str) -> str | None:
        """The commit a hub revision points to: asked of the hub, or as the local cache last saw it."""
        if asked not in self._commits:
            self._commits[asked] = self._ask(asked, key) or hub.known_commit(asked)
        return self._commits[asked]

    def _ask(self, asked: Repository, key: str) -> str | None:
        """What the hub says, None if it cannot be asked. It is not asked twice then."""
        try:
            return hub.commit(asked) if self._offline is None else None
        except hub.Unreachable as error:
            self._offline = error.why
            return None
        except StageError as error:
            raise ConfigError([f"{key}={asked.id}: {error}"]) from None

    def _check(self, file: Path, fields: dict[str, str], where: str) -> None:
        """Refuse a data file that a stage could not read, as far as that is cheap to see; a pass is remembered."""
        _check_file(file, where)
        if file.suffix == ".parquet" or file.stat().st_size > CHECKED_BYTES:
            return
        self.once(file, f"rows {json.dumps(fields, sort_keys=True)}", lambda: _check_rows(file, fields, where))

    def once(self, file: Path, what: str, check: Callable[[], None]) -> None:
        """Do a check of a file, which raises if it fails. A pass is remembered as long as the file is the same."""
        key = f"{file}:{stamp(file.stat())}:{what}"
        if not self._memory.get(key):
            check()
            self._memory.put(key, True)


def _check_data(data: Data, key: str) -> None:
    """Refuse a data source that does not say where it is, or whose fields are no templates."""
    named = [name for name in ("path", "hub", "stage") if getattr(data, name) is not None]
    if named not in (["path"], ["hub"], ["stage"], ["path", "hub"]):
        allowed = "give one of path, hub and stage (or path beside hub, to be read in its place)"
        raise ConfigError([f"{key}: {allowed}, not {', '.join(named) or 'none'}"])
    if named == ["hub"] and data.file is not None:
        raise ConfigError([f"{key}.file={data.file}: of a path or a stage; a hub data set has config and split"])
    try:
        rows.split_of(data.split)
        rows.columns(data.fields)
    except StageError as error:
        raise ConfigError([f"{key}: {error}"]) from None


def _check_file(file: Path, where: str) -> None:
    """Refuse what is no data file, without reading it."""
    if not file.is_file():
        raise ConfigError([f"{where}: no such file: {file}"])
    if not file.name.endswith(rows.SUFFIXES):
        raise ConfigError([f"{where}: a data file ends in one of {', '.join(rows.SUFFIXES)}"])
    if file.stat().st_size == 0:
        raise ConfigError([f"{where}: the file is empty"])


def _check_rows(file: Path, fields: dict[str, str], where: str) -> None:
    """Refuse a file that has no rows, or one that lacks a column."""
    count = 0
    try:
        for row in rows.read(file):
            count += 1
            rows.render(fields, row, where=f"{where}, row {count}")
    except StageError as error:
        raise ConfigError([str(error)]) from None
    if count == 0:
        raise ConfigError([f"{where}: the file has no rows"])
