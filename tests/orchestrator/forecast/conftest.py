"""Models of billions of parameters that take no room: their bytes are zeros, and hashed by their number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from stages import artifact

#: Bytes of a file from which on it is such a model.
LARGE = 2**26


@pytest.fixture(autouse=True)
def large_files_are_hashed_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = artifact.hashes

    def of(files: Iterable[Path]) -> list[str]:
        files = list(files)
        small = [file for file in files if file.stat().st_size < LARGE]
        known = dict(zip(small, hashes(small), strict=True))
        sizes = {file: hashlib.sha256(str(file.stat().st_size).encode()).hexdigest() for file in files}
        return [known.get(file, sizes[file]) for file in files]

    monkeypatch.setattr(artifact, "hashes", of)
