"""How runs are called in W&B, and where their files lie: <store>/wandb/.

The id of a node's run is made of its fingerprint, so a requeue continues the same run. A word that every store draws
once is behind it: two stores that log into one project do not write into each other's runs, and where somebody has
deleted a run, whose id W&B gives to nobody again, removing <store>/wandb gives new ids.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from stages import jsonfile, spoilt

#: Of the store: all that W&B's client writes, and the word of this store.
FOLDER, WORD = "wandb", "store-id"

#: Behind the name of a transaction log that was uploaded.
SYNCED = ".synced"


def of_node(root: Path, fingerprint: str) -> str:
    """The id of the run of a node in the store at `root`."""
    return f"{fingerprint[:16]}-{_word(root)}"


def of_study(root: Path, experiment: str, variant: str | None = None) -> str:
    """The id of the summary run of a study, or of one of its variants."""
    kind, name = ("study", experiment) if variant is None else ("variant", f"{experiment}/{variant}")
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:12]}-{_word(root)}"


def of_artifact(stage: str, label: str, fingerprint: str) -> str:
    """The name of a node's artifact in W&B, which allows fewer characters than a label has."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', f'{stage}-{label}')[:100]}-{fingerprint[:10]}"


def logs(root: Path, id: str) -> list[Path]:
    """The transaction logs of a run, one for each attempt, the oldest first."""
    found = (root / FOLDER).glob(f"*run-*-{id}*/run-{id}.wandb")
    return sorted(found, key=lambda file: file.parent.name.partition("run-")[2])  # a time, whatever the mode


def unsynced(root: Path, id: str) -> list[Path]:
    """Those of its transaction logs that were written offline, and not uploaded since."""
    offline = [file for file in logs(root, id) if file.parent.name.startswith("offline-")]
    return [file for file in offline if not file.with_name(file.name + SYNCED).exists()]


def _word(root: Path) -> str:
    file = root / FOLDER / WORD
    if (word := _read(file)) is not None:
        return word
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{WORD}.{secrets.token_hex(6)}")
    jsonfile.put(draft, secrets.token_hex(2).encode())
    try:
        os.link(draft, file)  # whoever is second takes the word of the first
    except FileExistsError:
        if _read(file) is None:
            os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    return _read(file) or "0000"


def _read(file: Path) -> str | None:
    """The word in a file; None if it is not there, or has none."""
    try:
        word = jsonfile.text(file, jsonfile.SMALL).strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        spoilt.note(file, error)
        return None
    if re.fullmatch(r"[0-9A-Za-z]{1,32}", word):
        return word
    spoilt.note(file, "it holds no word")
    return None
