"""The hub: repositories at a commit, as files of this machine; what its refusals mean.

Files are in the cache of the hub's own client (`HF_HOME`), and are downloaded where they are not there and there is a
network. Data sets and models are read from there, never by their id: by id, and offline, the libraries take whatever
commit they last saw.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.contract import StageError

Kind = Literal["model", "dataset"]

#: Files that say how a repository is to be read; and one that every repository has.
CARDS = ("README.md", ".huggingface.yaml", "dataset_infos.json", "config.json", ".gitattributes")

#: Files that say what a model is, of which the tokenizer is the largest, with some megabytes.
DESCRIBING = ("config.json", "tokenizer.json", "tokenizer_config.json")

#: Files of a model beside its weights: config, tokenizer, chat templates.
_BESIDE_WEIGHTS = re.compile(r"[^/]+\.(json|model|txt|jinja|tiktoken)|additional_chat_templates/[^/]+\.jinja")

#: Why the hub is not asked, if it is this process that must not.
OFFLINE = "HF_HUB_OFFLINE is set"

#: What gets files for machines that have no network.
_FETCH = "where there is a network, `python -m orchestrator fetch` with the same overrides downloads what a study needs"


class Refused(StageError):
    """The hub has no such repository, revision or file, or does not give it to us."""


class Unreachable(StageError):
    """The hub cannot be asked, and the local cache does not have it. `why` is the reason alone."""

    def __init__(self, message: str, why: str = "") -> None:
        self.why = why
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository at a commit; or, to ask for its commit, at a branch or tag.

    `away`: why the hub cannot be asked, where that is known: the cache alone is, then.
    """

    id: str
    kind: Kind
    revision: str
    away: str = ""

    @property
    def page(self) -> str:
        """Where a person looks at it."""
        from huggingface_hub import constants

        endpoint = re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)  # a mirror's may have a password
        return f"{endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


def is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def offline() -> bool:
    """Whether the hub's client was told to stay in its cache."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def commit(repository: Repository) -> str:
    """The commit that a branch or tag points to, asked of the hub; nothing is written.

    Raises:
        Refused, Unreachable: the hub's answer is no, or there is none.
    """
    from huggingface_hub import HfApi  # slow to import, and not needed without hub ids

    with _asking(repository):
        found = HfApi().repo_info(repository.id, revision=repository.revision, repo_type=repository.kind, timeout=5)
        assert found.sha is not None
        return found.sha


def access(repository: Repository) -> None:
    """Ask the hub whether it gives a repository to us; nothing is downloaded.

    Raises:
        Refused, Unreachable: it does not, or there is no answer.
    """
    from huggingface_hub import constants, get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, and in no __all__

    # What HfApi.auth_check asks, which would wait for an answer without end.
    asked = f"{constants.ENDPOINT}/api/{repository.kind}s/{repository.id}/auth-check"
    with _asking(repository):
        hf_raise_for_status(get_session().get(asked, headers=build_hf_headers(), timeout=5))


def given(repository: Repository) -> bool:
    """Whether the local cache has a file of the repository at that commit that only those get who have access."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    kept = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository.id, repo_type=repository.kind))
    every = kept.joinpath("snapshots", repository.revision).rglob("*")
    return any(file.is_file() and file.name not in CARDS for file in every)


def known_commit(repository: Repository) -> str | None:
    """The commit that a branch or tag pointed to when it was last downloaded, None if it never was."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    try:
        return (
            HfApi()
            .resolve_revision(
                repository.id, revision=repository.revision, repo_type=repository.kind, local_files_only=True
            )
            .resolved
        )
    except RevisionResolutionError:
        return None


def keep_commit(repository: Repository) -> str:
    """Note in the local cache what a branch or tag points to, so that it can be told offline. Gives the commit."""
    from huggingface_hub import HfApi

    with _asking(repository):
        return HfApi().resolve_revision(repository.id, revision=repository.revision, repo_type=repository.kind).resolved


def listing(repository: Repository) -> dict[str, int]:
    """The files of a repository and their sizes in bytes; its cards are downloaded with the list.

    Raises:
        Refused, Unreachable: neither the cache nor the hub has them.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    folder = download(repository, CARDS)
    try:
        files = get_cached_repo_tree(repository.id, repo_type=repository.kind, revision=repository.revision)
    except CachedRepoTreeNotFoundError:  # filled by an older client, and now there is no network
        every = (file for file in folder.rglob("*") if file.is_file())
        return {file.relative_to(folder).as_posix(): file.stat().st_size for file in every}
    return {file.path: file.size for file in files}


def download(repository: Repository, names: Iterable[str]) -> Path:
    """The folder that has these files of a repository, those that there are; what is not there yet is downloaded.

    Raises:
        Refused, Unreachable: the hub does not give one of them.
    """
    from huggingface_hub import snapshot_download

    with _asking(repository):
        return Path(
            snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=repository.revision,
                allow_patterns=[glob.escape(name) for name in names],
                local_files_only=bool(repository.away),
            )
        )


def described(repository: Repository) -> Path:
    """The folder with the `DESCRIBING` files of a model, those that there are; the hub is asked for what is not cached.

    Raises:
        Refused, Unreachable: neither the cache nor the hub has its config.
    """
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(repository.id, repo_type=repository.kind, revision=repository.revision)
        names = [file.path for file in tree if file.path in DESCRIBING]
        cached = not absent(repository, names)
    except CachedRepoTreeNotFoundError:
        names, cached = list(DESCRIBING), False
    config = try_to_load_from_cache(repository.id, "config.json", revision=repository.revision)
    if cached and isinstance(config, str):
        return Path(config).parent
    try:
        return download(repository, [*names, ".gitattributes"])  # which every repository has
    except Unreachable:
        if isinstance(config, str):  # filled by an older client, or by one that was stopped
            return Path(config).parent
        raise


def absent(repository: Repository, names: Iterable[str]) -> list[str]:
    """Those of the files that the local cache does not have."""
    from huggingface_hub import try_to_load_from_cache

    return [
        name
        for name in names
        if not isinstance(
            try_to_load_from_cache(repository.id, name, revision=repository.revision, repo_type=repository.kind),
            str,
        )
    ]


def model_files(names: Iterable[str]) -> list[str]:
    """The files that a checkpoint is loaded from: config, tokenizer, and the weights in one format.

    Raises:
        StageError: there are no weights.
    """
    names = sorted(names)
    beside = [name for name in names if _BESIDE_WEIGHTS.fullmatch(name)]
    for pattern in (r"model[^/]*\.safetensors", r"[^/]+\.safetensors", r"pytorch_model[^/]*\.bin"):
        weights = [name for name in names if re.fullmatch(pattern, name)]
        if weights:
            return [*beside, *weights]
    raise StageError("no checkpoint in it; expected config.json and *.safetensors")


def model(id: str, revision: str) -> Path:
    """The folder of a model's files.

    Raises:
        StageError: it cannot be had, or has no weights.
    """
    repository = Repository(id=id, kind="model", revision=revision)
    try:
        return download(repository, model_files(listing(repository)))
    except (Refused, Unreachable):
        raise
    except StageError as error:
        raise StageError(f"{repository.page} at {revision[:10]}: {error}") from None


@contextmanager
def _asking(repository: Repository) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what it is depends on the HTTP library that the hub's client has
        raise _explained(error, repository) from None


def _explained(error: Exception, repository: Repository) -> StageError:
    """What an error of the hub's client means, and what to do."""
    from huggingface_hub import errors

    what = f"{repository.kind} {repository.id}"
    who = "set HF_TOKEN or run `hf auth login`"
    status = getattr(getattr(error, "response", None), "status_code", 0) or 0
    match error:
        case errors.GatedRepoError():
            return Refused(f"{what}: gated; accept its conditions at {repository.page}, then {who}")
        case errors.RevisionNotFoundError():
            return Refused(f"{what}: no revision {repository.revision!r}; see {repository.page}/commits/main")
        case errors.RepositoryNotFoundError():
            return Refused(f"{what}: not on the hub ({repository.page}), or private: then {who}")
        case errors.HFValidationError():
            return Refused(f"{what}: {error}")
        case _ if status in (401, 403):
            return Refused(f"{what}: no access ({status}): see {repository.page}, and {who}")
        case OSError() if error.errno is not None and not status:  # a full disk, a folder that is not ours
            return StageError(f"{what}: cannot be kept in the local cache: {error}")
    cause = f"it answers {status}" if status else type(error.__cause__ or error).__name__
    why = repository.away or (OFFLINE if offline() else f"the hub cannot be reached ({cause})")
    where = f"{what} at {repository.revision[:10]}"
    return Unreachable(f"{where}: not all of it is in the local cache, and {why}; {_FETCH}", why)
