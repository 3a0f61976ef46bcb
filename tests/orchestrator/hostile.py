"""A hostile store: a study that is published, with more than fifty entries that somebody planted among its files.

Each kind of plant is one that a member of a group can put where the group may write: pipes, sockets, links, folders,
sparse and huge files, JSON of every wrong shape, and names that no program would give.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launch.claim import Claim
from orchestrator.graph import Node
from stages.artifact import RECORD
from tests.orchestrator import test_answers as answers
from tests.orchestrator.document.synthetic import Synthetic

EXPERIMENT = "+experiment=tiny_math"
TOKEN = "f" * 12

#: Verbs that plan the whole study.
PLANNED = ("plan", "status", "why", "cancel", "report", "gc")

Plant = Callable[[Path], object]


def _socket(file: Path) -> None:
    here = os.open(file.parent, os.O_RDONLY)  # a socket's path has 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{file.name}")
    finally:
        os.close(here)


def _link(to: str) -> Plant:
    return lambda file: file.symlink_to(to)


def _sparse(size: int) -> Plant:
    def plant(file: Path) -> None:
        with file.open("wb") as stream:
            stream.truncate(size)

    return plant


def _text(said: str | bytes) -> Plant:
    return lambda file: file.write_bytes(said if isinstance(said, bytes) else said.encode())


def _json(value: Any) -> Plant:
    return _text(json.dumps(value))


#: What is no JSON object, whoever reads it.
KINDS: dict[str, Plant] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": _link("/dev/zero"),
    "outside": _link("/etc/passwd"),
    "dangling": _link("nowhere"),
    "loop": lambda file: file.symlink_to(file.name),
    "folder": Path.mkdir,
    "sparse": _sparse(20 << 30),
    "lists": _text("[" * 100_000),
    "objects": _text('{"a":' * 100_000),
    "digits": _text('{"schema": ' + "9" * 100_000 + "}"),
    "cut": _text('{"schema": 1,'),
    "empty": _text(""),
    "latin": _text(b'{"a": "\xe9"}'),
    "mark": _text(b"\xef\xbb\xbf{}"),
    "nul": _text(b"\0" * 64),
    "list": _json([1]),
    "number": _text("1e999"),
    "not a number": _text("NaN"),
    "text": _json("text"),
}


class Hostile(Synthetic):
    """The store, and what was planted in it.

    Attributes:
        told: verb -> paths that it comes across, and has to name.
        spoilt: the nodes that are not published because of it; `kept` is one of the others, which verbs name.
        outside: a folder beside the store, to which links in it lead.
    """

    def __init__(self, store: Path) -> None:
        super().__init__(store, experiment=EXPERIMENT)
        self.publish()
        self.planted: list[Path] = []
        self.told: defaultdict[str, set[str]] = defaultdict(set)
        self.outside = store.parent / "outside"
        self._free = [node for node in self.nodes if node.stage == "evaluate"]
        self.kept = self._free.pop(0)
        self._answers()
        self.spoilt: list[Node] = []
        self._records()
        self._unfinished()
        self._contents()
        self._elsewhere()
        self._names()
        self.store.refresh()

    @property
    def healthy(self) -> list[Node]:
        return [node for node in self.nodes if node not in self.spoilt]

    def _plant(self, path: Path, plant: Plant, *told: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        plant(path)
        self.planted.append(path)
        for verb in told:
            self.told[verb].add(str(path))

    def memories(self) -> None:
        """Plant what verbs remember; a verb that has found something out puts its own in the place."""
        self._plant(self.store.root / ".records-1.json", KINDS["objects"], *PLANNED[:-1])
        self._plant(self.store.root / ".sources.json", KINDS["pipe"], *PLANNED[:-1], "inspect", "compare")

    def _answers(self) -> None:
        """Publish what the evaluation that stays was answered, which the others do not say."""
        self.remove(self.kept)
        draft = self.store.root / ".draft"
        answers.write(draft, [answers.row(0), answers.row(1, **answers.WRONG, prompt="\x1b[2J")])
        (draft / "scores.json").write_text(json.dumps({"pass@1": 0.5, "n": 2, "k": 1}))
        self._publish(self.kept, draft, {"summary": {}})

    def _next(self) -> Node:
        """A node that is given up."""
        node = self._free.pop()
        self.spoilt.append(node)
        return node

    def _records(self) -> None:
        """Records that are none."""
        for name in ("pipe", "device", "loop", "sparse", "objects", "digits", "latin", "number", "folder"):
            self._plant(self.folder(self._next()) / RECORD, KINDS[name], *PLANNED)
        for key, value in (("outputs", {"path": "../../x"}), ("identity", "text"), ("summary", 3)):
            file = self.folder(self._next()) / RECORD
            self._plant(file, _json({**json.loads(file.read_text()), key: value}), *PLANNED)
        folder = self.folder(self._next())
        self._plant(folder, _text("a file, no folder"))
        self._plant(folder := self.folder(self._next()), Path.mkdir)
        for verb in PLANNED:
            self.told[verb].add(str(folder / RECORD))

    def job(self, node: Node) -> Path:
        return self.store.job(node.stage, node.fingerprint)

    def _begun(self) -> Path:
        """The folder of a node that was tried, and failed."""
        node = self._next()
        self.remove(node)
        folder = self.job(node)
        folder.mkdir()
        (folder / "attempts").write_text("1")
        return folder

    def _unfinished(self) -> None:
        """Folders of nodes that are being worked on: one plant in each, and one folder full of them."""
        places = ("claim-1.json", "error.json", "setbacks.json", "progress.json", "node.json", "attempts", "saved.json")
        every = self._begun()
        kinds = ("pipe", "outside", "dangling", "loop", "device", "socket", "sparse")
        for name, kind in zip(places, kinds, strict=True):
            self._plant(every / name, KINDS[kind], *(PLANNED if name == "claim-1.json" else ()))
        self._plant(every / "lock", KINDS["pipe"])
        wrong = self._begun()
        claim = {"token": "../../..", "launcher": "slurm", "job": "**/*", "pid": 10**30, "index": "x"}
        self._plant(wrong / "claim-1.json", _json(claim), *PLANNED)
        self._plant(wrong / f"claim-{'9' * 200}.json", _json({}))
        self._plant(wrong / "claim-x.json", _json({}))
        self._plant(wrong / "claim--1.json", _json({}))
        self._plant(wrong / "error.json", _json({"message": ["\x1b[2J", 10**30], "continues": "x"}))
        self._plant(wrong / "setbacks.json", _json({"times": "many", "step": [], "attempt": {}}))
        for number in range(20_000):
            (wrong / f"claim-{number}.json.old").touch()
        running = self._begun()
        self._plant(running / "progress.json", _json({"step": None, "total": "x", "rate": [], "updated": 10**400}))
        mine = Claim(token=TOKEN, launcher="local", pid=os.getpid(), number=1)
        (running / "claim-1.json").write_text(json.dumps(vars(mine)))
        os.utime(running / "claim-1.json", (2**33, 2**33))
        odd = self._begun()
        self._plant(odd / "progress.json", _text('{"step": NaN, "total": 1e999, "rate": -1e999, "updated": NaN}'))
        (odd / "claim-1.json").write_text(json.dumps(vars(mine)))
        os.utime(odd / "claim-1.json", (-(2**31), -(2**31)))
        order = self._begun()
        alices = Claim(token=TOKEN, launcher="slurm", job="12", user="alice")
        (order / "claim-1.json").write_text(json.dumps(vars(alices)))
        self._plant(self.store.root / "jobs" / TOKEN / "order.json", _json({"tasks": [{"folders": 3}], "token": 5}))
        self._plant(self.store.root / "jobs" / TOKEN / "12_0_log.out", KINDS["pipe"])
        self._plant(self.store.root / "jobs" / ("e" * 12) / "order.json", KINDS["pipe"])
        folder = self._begun()
        self._plant(folder, _text("a file in place of a node's folder"))

    def _contents(self) -> None:
        """Files of artifacts that have a valid record, and other content than their stage writes."""
        for name, kind in (("scores.json", "lists"), ("problems.parquet", "cut"), ("generations.parquet", "nul")):
            self.rewrite(self._last("evaluate"), name, _bytes(KINDS[kind])) if kind else None
        self.rewrite(self._last("evaluate"), "problems.parquet", _parquet(id=[[1]], samples=["x"], correct=[None]))
        self.rewrite(self._last("evaluate"), "problems.parquet", _parquet(id=["a"], samples=[0], correct=[1]))
        self.rewrite(self._last("evaluate"), "scores.json", b'{"pass@1": 1' + b"0" * 400 + b', "n": [], "k": NaN}')
        for node, said in zip(
            [node for node in self.nodes if node.stage in ("grpo", "sft")],
            (b"[" * 100_000, b'{"step": "x", "reward": []}\n', b'{"step": NaN, "entropy": 1e999, "reward": {}}\n7\n'),
            strict=False,
        ):
            self.rewrite(node, "training.jsonl", said)
        for node, said in zip(
            [node for node in self.nodes if node.stage == "rejuvenate"],
            (b'{"modules": {"model.layers.0.mlp.up_proj": []}, "reset_ratio": "x"}', b'{"kinds": 3, "layers": []}'),
            strict=False,
        ):
            self.rewrite(node, "summary.json", said)
        for node in [node for node in self.nodes if node.stage == "diagnose"][:2]:
            self.rewrite(node, "weights.parquet", _parquet(tensor=[None, "x"], elements=[[1], [2]], norm=["a", "b"]))

    def _last(self, stage: str) -> Node:
        self._used = getattr(self, "_used", 0) + 1
        return [node for node in self.healthy if node.stage == stage and node is not self.kept][-self._used]

    def _elsewhere(self) -> None:
        """Everything beside nodes."""
        root, me = self.store.root, self.store.root / "runs" / "root"
        self.memories()
        for name in ("pipe", "outside", "digits", "list", "folder"):
            self._plant(root / "runs" / "somebody" / f"toy-{name}.json", KINDS[name], "gc")
        self._plant(root / "runs" / "else" / "toy-shape.json", _json({"user": 3, "nodes": [{"stage": 1}], "time": "x"}))
        self._plant(me / "notices" / "tiny_math-1-x" / "study.json", KINDS["pipe"])
        self._plant(root / "wandb" / "store-id", KINDS["pipe"])
        for name in ("table.md", "table.csv", "scores.csv", "report.html", "tables", "figures"):
            self._plant(root / "reports" / "tiny_math" / name, _link(f"../../../outside/{name}"))
        outside = self.outside
        outside.mkdir()
        for name in ("table.md", "table.csv", "scores.csv", "report.html"):
            (outside / name).write_text("not the store's")
        for name in ("tables", "figures"):
            (outside / name).mkdir()
            (outside / name / "mine.csv").write_text("not the store's")
        self._plant(root / "snapshots" / "no-folder", KINDS["pipe"])
        self._plant(root / "users" / "root", _link("/etc"))

    def _names(self) -> None:
        """Names that no program gives, in folders that are listed; and logs."""
        folder = self.store.root / "evaluate"
        for name in (b"two\nlines-0123456789", b"\x1b[2Jred-0123456789", b"x" * 255, b"\xff\xfe-0123456789"):
            os.mkdir(os.path.join(os.fsencode(folder), name))
        (folder / "loop-0123456789").symlink_to("loop-0123456789")
        os.mkfifo(folder / "pipe-0123456789")
        logs = self.store.logs("evaluate")
        logs.mkdir(parents=True, exist_ok=True)
        label, key = self.kept.label, self.kept.fingerprint[:10]
        self._plant(logs / f"{label}-{key}-1.txt", _text(b"\x1b[2J\x1b]0;title\x07\xff\0 words\n"))
        self._plant(logs / f"{label}-{key}-2.txt", KINDS["pipe"])
        self._plant(logs / f"{label}-{key}-3.txt", KINDS["device"])
        self._plant(logs / f"{label}-{key}-4.txt", KINDS["sparse"])


def _parquet(**columns: Iterable[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _bytes(plant: Plant) -> bytes:
    """What a plant that is a text writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()
