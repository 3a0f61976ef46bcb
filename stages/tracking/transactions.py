"""Reading a run's transaction log (`run-ID.wandb`), which W&B's client writes whatever its mode.

The client has no reader of its own. The format is LevelDB's log (https://github.com/google/leveldb, doc/log_format.md)
behind a header of seven bytes; each entry is a protobuf `Record` of the client.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2 as pb

BLOCK, HEADER, MAGIC = 32768, 7, b":W&B"

#: Types of a chunk: a whole entry, or the first, a middle or the last part of one.
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[Any]:
    """The records of a log, as far as they were written: a client that was killed leaves the last one cut off."""
    data = file.read_bytes()
    if not data.startswith(MAGIC):
        return
    entry, at = b"", HEADER
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # too short for a chunk: padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        chunk = data[at + 7 : at + 7 + length]
        if kind not in (WHOLE, FIRST, MIDDLE, LAST) or len(chunk) < length:
            return
        at += 7 + length
        entry = chunk if kind in (WHOLE, FIRST) else entry + chunk
        if kind in (WHOLE, LAST):
            record = pb.Record()
            try:
                record.ParseFromString(entry)
            except DecodeError:
                return
            yield record


def begun(file: Path) -> bool:
    """Whether a log says which run it is of: a client that is killed in its first 15 seconds has not yet."""
    return file.stat().st_size > BLOCK or any(record.WhichOneof("record_type") == "run" for record in records(file))


def history(file: Path) -> list[dict[str, Any]]:
    """The rows of a run's history in the order in which they were written, each with its `_step`."""
    return [
        {"/".join(item.nested_key) or item.key: _value(item) for item in record.history.item}
        for record in records(file)
        if record.WhichOneof("record_type") == "history"
    ]


def reached(file: Path) -> int:
    """The last step whose row is in a log; -1 if none is."""
    return max((row["_step"] for row in history(file) if "_step" in row), default=-1)


def _value(item: Any) -> Any:
    if item.value_json:
        return json.loads(item.value_json)
    kind = item.WhichOneof("value")
    return None if kind in (None, "none") else getattr(item, kind)
