"""The files of a checkpoint that is made in the layout of another.

Each weight file has the header of the other's, byte for byte, so that shards, names, dtypes, offsets and metadata stay
what they were. It is written last: before that the file is none that could be loaded. Config and tokenizer are copied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages.rejuvenation.weights import Weights

#: Files kept beside the weights, by suffix, and those that a trainer leaves there, which are no part of a model.
_COMPANIONS = (".json", ".jinja", ".model", ".tiktoken", ".txt")
_TRAINER = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")


@contextmanager
def created(sft: Weights, folder: Path) -> Iterator[dict[Path, int]]:
    """A file in `folder` for each of `sft`, open for writing; each gets its header if all went well."""
    with ExitStack() as stack:
        descriptors = {
            file: stack.enter_context((folder / file.name).open("xb", buffering=0)).fileno() for file in sft.files
        }
        yield descriptors
        for file, descriptor in descriptors.items():
            write(descriptor, memoryview(sft.headers[file]), 0)


def write(descriptor: int, content: memoryview, at: int) -> None:
    """Write all of `content`: one call may write less than it was given."""
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], at + done)


def copy_companions(sft: Weights, folder: Path) -> None:
    """Config, generation config, tokenizer and the index that names the shards, if one does; no other index.

    The config comes last: without it nothing loads.
    """
    names = [file.name for file in sft.folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    own = None if sft.index is None else sft.index.name
    foreign = [name for name in names if name.endswith(".index.json") and name != own]
    kept = [n for n in names if n.endswith(_COMPANIONS) and n not in (*_TRAINER, *foreign)]
    for name in sorted(kept, key=lambda name: name == "config.json"):
        shutil.copyfile(sft.folder / name, folder / name)
