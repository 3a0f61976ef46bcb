"""Sources: what comes from outside has identity by its content, never by its path.

A file or folder is the SHA-256 of its bytes (remembered by path, size, mtime and inode), a hub repository its commit.
So moved equal bytes re-run nothing, and edited bytes re-run what depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from launch.node import InputSpec
from orchestrator import columns
from orchestrator.experiment import DATA, Data, is_hub_id
from orchestrator.refusal import ConfigError
from stages import content, contract, hub, rows
from stages.contract import Input, StageError
from stages.hub import Repository
from stages.identity import fingerprint, identity
from stages.store import stamp

if TYPE_CHECKING:
    from orchestrator.graph import Node

VERSION = 1

#: Data files are checked row by row while planning, until so many characters of their fields are seen; what comes
#: behind is checked when the stage reads it.
CHECKED_BYTES = 16 * 2**20

#: Files of a folder, at most: all are hashed.
MOST_FILES = 100_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """A node that nobody runs: bytes on disk, a hub commit, or a file inside the artifact of `origin`.

    `revision` is the branch, tag or commit that was asked for. `unresolved` says why the content is not known (no
    network, no access); the fingerprint is then provisional. `rows` is how many it has, where all were looked at;
    `notes` are what is to be said of them. `key` is what names it in the config, for messages about a model.
    """

    name: str
    content: dict[str, Any]
    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    origin: Node | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    unresolved: str | None = None
    rows: int | None = None
    notes: tuple[str, ...] = ()
    key: str = ""

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
        return Source(name=text, path=path, content={"files": content.of_folder(path, self._memory)}, key=key)

    def data(self, data: Data, key: str, origin: Node | None, prompt: str = "{{ question }}") -> Source:
        """The data source that `key` describes; `origin` is the node of `data.stage`, if it names one.

        `prompt` is the template of a prompt over a question, for data that does not say how its prompts are made.

        Raises:
            ConfigError: it is missing, empty, not UTF-8, lacks a column or has values there that are no texts, as far
                as that is cheap to see.
        """
        _check_place(data, key)
        reading: dict[str, Any] = {"file": data.file, "config": data.config, "split": data.split}
        if data.path is not None:  # also in place of a hub's data set
            try:
                return self._local(data, reading, key, prompt)
            except OSError as error:  # a name that is too long, a folder that nobody may open
                raise ConfigError([f"{key}={data.path}: cannot be read ({error.strerror})"]) from None
        reading["fields"] = _fields(data, key, columns.usual)
        if data.hub is not None:
            repository = Repository(id=data.hub, kind="dataset", revision=data.revision or "main")
            return self._hub(repository, reading, key)
        return Source(name=f"{data.stage}/{data.file}", origin=origin, content={}, reading=reading)

    def remember(self) -> None:
        """Keep the hashes for the next time, if that is possible: without them the bytes are read again."""
        self._memory.keep()

    def _local(self, data: Data, reading: dict[str, Any], key: str, prompt: str) -> Source:
        """A file, a file in a folder, or a folder that is laid out like a data set of the hub."""
        assert data.path is not None
        where = f"{key}={data.path}"
        path, file = _file(data.path, None), _file(data.path, data.file)
        if file.is_dir():
            _check_folder(file, where)
            found: dict[str, Any] = {"files": content.of_folder(file, self._memory)}
            if not found["files"]:
                raise ConfigError([f"{where}: the folder is empty"])
            path, reading = file, {**reading, "file": None}
            state = fingerprint(found)
        else:
            _check_file(file, where)
            found = {"sha256": content.of_file(file, self._memory)}
            state = stamp(file.stat())
        fields = _fields(data, key, lambda kind: self._said(kind, file, found, prompt, key, str(data.path)))
        reading = {**reading, "fields": fields}
        count = self.remembered(
            f"{path}:{state}:texts {json.dumps(reading)}", lambda: _check_rows(path, reading, where)
        )
        guessed = data.fields is None and fields != columns.usual(key)
        notes = (f"{where}: {columns.told(fields)}",) if guessed else ()
        return Source(name=data.path, path=path, content=found, reading=reading, rows=count, notes=notes)

    def _said(self, kind: str, file: Path, found: dict[str, Any], prompt: str, key: str, text: str) -> dict[str, str]:
        """What the columns of a file say, or those of the first data file of a folder."""
        shards = [name for name in found.get("files", [""]) if (name or file.name).endswith(rows.SUFFIXES)]
        if not shards:
            return columns.usual(kind)
        first = file / shards[0]
        named = self.once(first, "columns", lambda: _columns(first, f"{key}={text}"))
        try:
            return columns.fields(kind, named, prompt, key=key, path=text)
        except columns.Unsaid as unsaid:
            raise ConfigError([f"{key}={text}: {unsaid}"]) from None

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
            key=key,
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

    def once(self, file: Path, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds in a file, or raises. What it found is remembered as long as the file is the same."""
        return self.remembered(f"{file}:{stamp(file.stat())}:{what}", look)

    def remembered(self, key: str, look: Callable[[], Any]) -> Any:
        """What `look` finds, or raises; what it found is remembered under a key that names what it looks at."""
        known = self._memory.get(key)
        if known is None:
            known = [look()]
            self._memory.put(key, known)
        return known[0]


def _check_place(data: Data, key: str) -> None:
    """Refuse a data source that does not say where it is, or names a file that is not of what it says."""
    named = [name for name in ("path", "hub", "stage") if getattr(data, name) is not None]
    for name in named:
        if not getattr(data, name).strip():
            raise ConfigError([f"{key}.{name}: is empty; give a file, a folder or a hub id"])
    if named not in (["path"], ["hub"], ["stage"], ["path", "hub"]):
        allowed = "give one of path, hub and stage (or path beside hub, to be read in its place)"
        instead = f"; to read the file alone: {_anew(key, data.path)}" if data.path is not None else ""
        raise ConfigError([f"{key}: {allowed}, not {', '.join(named) or 'none'}{instead}"])
    if named == ["hub"] and data.file is not None:
        raise ConfigError([f"{key}.file={data.file}: of a path or a stage; a hub data set has config and split"])
    if data.stage is not None:
        _check_made(data.stage, data.file, key)


def _check_made(stage: str, file: str | None, key: str) -> None:
    """Refuse a file that a stage does not publish: it would be read, and no fingerprint would have its bytes."""
    made = published(stage)
    name = PurePosixPath(file or "")
    what = f"of the files that {stage} publishes" + (f" ({', '.join(made)})" if made else "")
    if file is None or not file.strip():
        raise ConfigError([f"{key}.file: has no value; name one {what}"])
    if name.is_absolute() or ".." in name.parts or file.startswith("~"):
        remedy = f"; to read a file of yours, replace stage: by path: {_anew(key, file)}"
        raise ConfigError([f"{key}.file={file}: not inside of what {key}.stage={stage} publishes{remedy}"])
    if made and str(name) not in made:
        raise ConfigError([f"{key}.file={file}: none {what}; a file of yours: {_anew(key, file)}"])


def published(stage: str) -> dict[str, str]:
    """File of rows -> the field that says how many it has, of those that a stage publishes; none if it names none."""
    found: dict[str, str] = getattr(contract.load(stage), "DATA", {}) if stage in contract.names() else {}
    return found


def _anew(key: str, file: str) -> str:
    """What a command line says to have a file in place of what the config has."""
    if key in DATA:
        return columns.override(key, file)
    path = columns.shell(f"+{key}.path={columns.quoted(file)}")
    return f"{key}.stage=null {key}.file=null {path}"


def _fields(data: Data, key: str, said: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """The fields of a data source: its own, else what is `said` for its kind. A split that is none is refused."""
    if data.fields is None and key not in DATA:
        raise ConfigError([f"{key}.fields: has no value; set it with {key}.fields=..."])
    fields = said(key) if data.fields is None else dict(data.fields)
    try:
        rows.split_of(data.split)
        rows.columns(fields)
    except StageError as error:
        raise ConfigError([f"{key}: {error}"]) from None
    return fields


def _file(path: str, name: str | None) -> Path:
    """The file or folder that a data source names on this machine."""
    whole = Path(path).expanduser().absolute()
    return whole / name if name else whole


def _check_folder(folder: Path, where: str) -> None:
    """Refuse a folder with what would keep its reader waiting, or with more files than any data set."""
    for number, each in enumerate(folder.rglob("*")):
        if number == MOST_FILES:
            raise ConfigError([f"{where}: a folder of more than {MOST_FILES:,} files; name that of one data set"])
        if each.exists() and not each.is_file() and not each.is_dir():
            raise ConfigError([f"{where}: neither a file nor a folder: {each}"])


def _check_file(file: Path, where: str) -> None:
    """Refuse what is no data file, without reading it."""
    if not file.is_file():
        what = "neither a file nor a folder" if file.exists() else "no such file"
        raise ConfigError([f"{where}: {what}: {file}"])
    if not file.name.endswith(rows.SUFFIXES):
        raise ConfigError([f"{where}: a data file ends in one of {', '.join(rows.SUFFIXES)}"])
    if file.stat().st_size == 0:
        raise ConfigError([f"{where}: the file is empty"])


def _columns(file: Path, where: str) -> list[str]:
    """The columns of the first row of a file."""
    try:
        first = next(iter(rows.read(file)), None)
    except StageError as error:
        raise ConfigError([_keyed(error, file, where)]) from None
    if not first:
        raise ConfigError([f"{where}: no rows" if first is None else f"{where}, row 1: no columns"])
    return [str(name) for name in first]


def _check_rows(path: Path, reading: dict[str, Any], where: str) -> int | None:
    """Refuse data that a stage could not read: rows that lack a column, or have no texts there; no rows at all.

    Returns:
        How many rows it has; None if it has more text than is looked at.
    """
    count, seen = 0, 0
    try:
        for row in rows.stream(Input(fingerprint="", path=path, reading=reading)):
            count += 1
            seen += sum(map(len, row.values()))
            if seen > CHECKED_BYTES:
                return None
    except StageError as error:
        raise ConfigError([_keyed(error, path, where)]) from None
    return count


def _keyed(error: StageError, path: Path, where: str) -> str:
    """A message about a file, with the key and the value that name the file."""
    text = str(error)
    return where + text[len(str(path)) :] if text.startswith(str(path)) else f"{where}: {text}"
