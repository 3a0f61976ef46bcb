"""Verb `fetch`: downloads what a study needs of the hub, models and data sets at their commits, on the login node.

After it the study plans and runs without a network (`HF_HUB_OFFLINE=1`). Interrupted and asked again, it downloads the
files that are not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from rich.filesize import decimal

from launch.escape import inline
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.sources import Source
from stages import hub, rows
from stages.contract import StageError
from stages.hub import Repository

#: local: it is in a file or folder. there: it was in the cache. fetched: it is now. missing: it could not be had.
STATES = ("local", "there", "fetched", "missing")


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What became of one source.

    Attributes:
        state: one of `STATES`.
        kind: model, dataset or file.
        what: of a data set, its config and split.
        bytes: of the files that the study needs of it, where they are known.
        why: the reason for a missing one, and what to do.
    """

    state: str
    kind: str
    name: str
    what: str = ""
    commit: str | None = None
    bytes: int | None = None
    why: str = ""


def verb(study: Study, command: Command) -> int:
    """Fetch everything; each source is shown when that is done."""
    found = []
    for each in fetch(study.graph.sources.values()):
        found.append(each)
        if not command.as_json:
            print(inline(_line(each)), flush=True)
    missing = [each for each in found if each.state == "missing"]
    if command.as_json:
        print(json.dumps({"sources": [asdict(each) for each in found]}))
    else:
        counts = ", ".join(f"{n} {state}" for state in STATES if (n := sum(each.state == state for each in found)))
        print(inline(counts) or "this study needs nothing from outside")
    return FAILED if missing else DONE


def fetch(sources: Iterable[Source]) -> Iterator[Fetched]:
    """Download the sources that are on the hub, one after the other; what cannot be had stops no other."""
    away = hub.OFFLINE if hub.offline() else ""
    seen = set()
    for source in sources:
        what = _what(source)
        if source.origin is not None or (source.name, what) in seen:
            continue
        seen.add((source.name, what))
        if source.hub is None:
            yield Fetched(state="local", kind="file", name=source.name)
            continue
        each, away = _one(source, what, away)
        yield each


def _one(source: Source, what: str, away: str) -> tuple[Fetched, str]:
    """Fetch one source; and why the hub is away, if it is. It is not asked again then: no answer takes long to come."""
    kind, commit = source.content["type"], source.content["commit"]
    found = Fetched(state="missing", kind=kind, name=source.name, what=what, commit=commit)
    if commit is None:
        return replace(found, why=str(source.unresolved)), away
    assert source.hub is not None and source.revision is not None
    repository = Repository(id=source.hub, kind=kind, revision=commit)
    try:
        away = away or _is_away(repository)
        repository = replace(repository, away=away)
        sizes = hub.listing(repository)
        names = _files(repository, source, sizes)
        absent = hub.absent(repository, names)
        hub.download(repository, names)
        if not away:
            _keep(replace(repository, revision=source.revision), commit)
    except hub.Unreachable as error:
        return replace(found, why=f"not all of it is in the local cache, and {error.why}"), away
    except StageError as error:
        return replace(found, why=str(error)), away
    found = replace(found, bytes=sum(sizes[name] for name in names))
    return replace(found, state="fetched" if absent else "there"), away


def _is_away(repository: Repository) -> str:
    """Why the hub cannot be reached; empty if it can. Asked in a call that is not retried.

    Raises:
        Refused: it can, and does not have the repository at that commit.
    """
    try:
        hub.commit(repository)
    except hub.Unreachable as error:
        return error.why
    return ""


def _files(repository: Repository, source: Source, sizes: dict[str, int]) -> list[str]:
    """The files that the study reads."""
    if repository.kind == "model":
        return hub.model_files(sizes)
    try:
        from stages.data import tables  # imports pyarrow, which is slow to load
    except ImportError as error:
        raise StageError(f"{repository.id}: {error.name} is not installed: pip install -e '.[train]'") from None
    name, _ = rows.split_of(source.reading.get("split"))
    return tables.hub_files(repository, source.reading.get("config"), name)


def _keep(asked: Repository, commit: str) -> None:
    """Note what a branch or tag pointed to, so that the study plans the same without a network."""
    now = commit if hub.is_commit(asked.revision) else hub.keep_commit(asked)
    if now != commit:
        raise StageError(f"{asked.id}: {asked.revision} has moved to {now[:10]} meanwhile; run the command again")


def _line(each: Fetched) -> str:
    """`there  dataset  openai/gsm8k main/test @740312add8  419 kB`."""
    name = f"{each.name} {each.what}".strip() + (f" @{each.commit[:10]}" if each.commit else "")
    size = "" if each.bytes is None else decimal(each.bytes)
    return f"{each.state:8}{each.kind:9}" + "  ".join(part for part in (name, size, each.why) if part)


def _what(source: Source) -> str:
    """The config and the split of a data set."""
    return "/".join(part for part in (source.reading.get("config"), source.reading.get("split")) if part)
