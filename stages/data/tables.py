"""Rows of parquet files and of data sets as the hub has them, one dict a row.

Which files are a split of a data set is decided by `datasets`, from the names of all files and the README. Of a data
set on the hub only those are downloaded: `datasets` itself would take every split of a config.
"""

from __future__ import annotations

import pickle
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages import content, hub
from stages.contract import StageError
from stages.hub import Repository

Row = dict[str, Any]

#: Rows of a parquet file that are read at once.
BATCH = 1024

#: The words in which `datasets` refuses a data set that is a program.
_SCRIPT = re.compile(r"Dataset scripts are no longer supported, but found (\S+)")


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split of a data set: the files that it has (paths below the data set's folder), and how they are read."""

    config: str | None
    name: str
    files: list[str]
    reading: dict[str, Any]


def parquet_rows(file: Path) -> Iterator[Row]:
    """The rows of a parquet file, read a batch at a time."""
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH):
            yield from batch.to_pylist()
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:  # also text that is not UTF-8
        raise StageError(f"{file}: cannot be read as parquet ({error})") from None


def folder_rows(folder: Path, config: str | None, split: str | None) -> Iterator[Row]:
    """The rows of a data set in a folder that is laid out as on the hub."""
    folder = folder.resolve()  # as `datasets` names its files
    with _loading(str(folder)):
        found = _split(folder, config, split)
        _check_own(found, {file.relative_to(folder).as_posix() for file in content.in_folder(folder)})
        yield from _rows(folder, found)


def hub_rows(repository: Repository, config: str | None, split: str | None) -> Iterator[Row]:
    """The rows of a hub data set, from the local cache, where that has them."""
    with _loading(repository.id), _named(repository) as folder:
        found = _split(folder, config, split)
        _check_own(found, {*hub.listing(repository)})
        local = hub.download(repository, found.files)
        for name in found.files:
            (folder / name).unlink()
            (folder / name).symlink_to(local / name)
        yield from _rows(folder, found)


def hub_files(repository: Repository, config: str | None, split: str | None) -> list[str]:
    """The files of a hub data set that have a split, and those that say so."""
    with _loading(repository.id), _named(repository) as folder:
        cards = [name for name in hub.CARDS if (folder / name).is_symlink()]
        return [*cards, *_split(folder, config, split).files]


def _check_own(split: Split, own: set[str]) -> None:
    """Refuse files that are not the data set's own: no fingerprint would know when their bytes change."""
    for name in split.files:
        if name not in own:
            where = "outside of the folder, behind a link to another folder, or hidden by a dot before a name"
            raise StageError(f"the split has the file {name}, which is {where}; put it into the folder itself")


@contextmanager
def _named(repository: Repository) -> Iterator[Path]:
    """A folder with all the names of a repository: its cards, and empty files."""
    names = hub.listing(repository)
    local = hub.download(repository, hub.CARDS)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name in hub.CARDS:
                (folder / name).symlink_to(local / name)
            else:
                (folder / name).touch()
        yield folder


def _split(folder: Path, config: str | None, split: str | None) -> Split:
    """The split of that name, or the only one. A data set that has no configs is not asked for one."""
    import datasets  # slow to import, and not needed for files

    configs = datasets.get_dataset_config_names(str(folder))
    config = None if configs == ["default"] else config
    if config not in configs and (config is not None or datasets.get_dataset_default_config_name(str(folder)) is None):
        raise StageError(f"config={config}: allowed: {', '.join(configs)}")
    with tempfile.TemporaryDirectory() as cache:
        builder = datasets.load_dataset_builder(str(folder), config, cache_dir=cache)
    splits = {str(name): list(files) for name, files in builder.config.data_files.items()}
    if split is None and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        raise StageError(f"split={split}: allowed: {', '.join(splits)}")
    files = [Path(file).relative_to(folder).as_posix() for file in splits[split]]
    reading: dict[str, Any] = {"features": builder.info.features}
    if builder.info.features is None and hasattr(builder.config, "keep_default_na"):  # CSV: an answer may be "None"
        reading["keep_default_na"] = False
    return Split(config=config, name=split, files=files, reading=reading)


def _rows(folder: Path, split: Split) -> Iterator[Row]:
    """The rows of a split, straight from its files: no copy of them is made in another format."""
    import datasets

    files = [str(folder / name) for name in split.files]
    with tempfile.TemporaryDirectory() as cache:
        yield from datasets.load_dataset(
            str(folder),
            split.config,
            split=split.name,
            data_files={split.name: files},
            cache_dir=cache,
            streaming=True,
            **split.reading,
        )


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """What `datasets` raises for a missing config or file, or one that is not what it should be, as one message."""
    from datasets.exceptions import DatasetsError
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        yield
    except StageError as error:
        if name in str(error):
            raise
        raise StageError(f"{name}: {error}") from None
    except RuntimeError as error:
        if not (script := _SCRIPT.search(str(error))):
            raise
        raise StageError(
            f"{name}: has a loading script, {script[1]}, whose code is never run here; take a data set without one, or "
            "its files (parquet, JSON lines, CSV)"
        ) from None
    except pickle.UnpicklingError:  # whose words tell how to run it all the same
        raise StageError(f"{name}: has a pickle of more than tensors, which is not loaded") from None
    except (OSError, ValueError, TypeError, pa.ArrowException, DatasetsError, YAMLError) as error:
        raise StageError(f"{name}: cannot be read as a data set: {error}") from None
