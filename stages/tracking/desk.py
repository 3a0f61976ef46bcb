"""What the process beside a worker does with each message. One run is open at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from stages import artifact
from stages.store import Store
from stages.tracking import config, lineage, names, published
from stages.tracking.run import Run, one_line, opened, remove_unbegun, say

#: Exit codes of a run, by the state of its node.
CODES = {"done": 0, "failed": 1, "interrupted": 1}


class Desk:
    """Runs of W&B for the nodes of one worker, or for what the head has to say."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._lost = False
        self._node: Mapping[str, Any] = {}

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a message asks for; returns what is to be known of it."""
        found: dict[str, Any] = getattr(self, f"_{message['do']}")(message) or {}
        return found

    def drop(self) -> None:
        """Close the run that is open, if there is one: nobody is left who could say how it ended."""
        run, self._run = self._run, None
        if run is not None:
            self._lost = True
            try:
                run.wandb.summary.update({"node/state": "lost"})
            finally:
                run.close(1)

    def _begin(self, message: Mapping[str, Any]) -> None:
        """Open the run of a node that is about to be run."""
        node, tracking = message["node"], message["node"]["tracking"]
        self._node, self._lost = node, False
        self._run = self._open(node, tracking, pid=message["pid"])
        self._run.wandb.summary.update({"node/state": "running", "node/attempt": message["attempt"]})

    def _row(self, message: Mapping[str, Any]) -> None:
        if self._run is not None:
            self._run.row(message["kind"], message["row"])

    def _end(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Close the run of a node, which is published, failed or was asked to stop."""
        run, self._run = self._run, None
        if run is None and self._lost:  # the client is gone, as Slurm ends it with SIGTERM while a stage saves
            run = self._open(self._node, self._node["tracking"])
        if run is None:
            return {}
        try:
            if message["state"] == "done":
                self._publish(run, Path(message["folder"]), self._node["tracking"])
            else:
                run.wandb.summary.update({"node/state": message["state"], "node/failure": message["message"]})
            if message["state"] == "interrupted":
                run.wandb.mark_preempting()
        finally:
            run.close(CODES[message["state"]])
        return run.place

    def _backfill(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Make the run of a node that was published without one."""
        folder, tracking = Path(message["folder"]), message["tracking"]
        record = artifact.read(folder)
        if record is None:
            return {"error": f"{folder} has no valid record"}
        of = {"store": message["store"], "reads": message["reads"], "stage": record["identity"]["stage"]}
        run = self._open({**record, **of}, tracking)
        try:
            self._publish(run, folder, tracking)
        finally:
            run.close(0)
        return run.place

    def _study(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Make the run of a study, or of one of its variants: numbers, and tables as the head has them."""
        root, id = Path(message["store"]), message["id"]
        remove_unbegun(root)
        for superseded in names.unsynced(root, id):  # it says the same, of an earlier moment
            shutil.rmtree(superseded.parent, ignore_errors=True)
        run = opened(root, message["tracking"], id=id, **message["run"])
        try:
            run.wandb.summary.update(message["summary"])
            tables = {name: wandb.Table(columns=head, data=rows) for name, (head, rows) in message["tables"].items()}
            if tables:
                run.wandb.log(tables)
        finally:
            run.close(0)
        return run.place

    def _open(self, node: Mapping[str, Any], tracking: Mapping[str, Any], pid: int | None = None) -> Run:
        root = Path(node["store"])
        store = Store(root, map(Path, node["reads"]))
        run = opened(
            root,
            tracking,
            id=names.of_node(root, node["fingerprint"]),
            pid=pid,
            name=f"{node['stage']}/{node['label']}",
            job_type=node["stage"],
            config=config.of_node(node, store, tracking["group"]),
        )
        with _going_on(f"what {node['stage']}/{node['label']} reads"):
            lineage.use_inputs(run.wandb, node["inputs"], store)
        return run

    def _publish(self, run: Run, folder: Path, tracking: Mapping[str, Any]) -> None:
        record = artifact.read(folder)
        if record is None:
            return
        for kind, row in published.curves(folder):  # what nobody told, or what was lost with an earlier attempt
            run.row(kind, row)
        run.wandb.config.update(config.of_record(record), allow_val_change=True)
        table = published.generations(folder, tracking["generations"])
        if table is not None:
            run.wandb.log({"generations": table})
        run.wandb.summary.update(published.summary(record, folder))
        with _going_on(f"what {record['identity']['stage']}/{record['label']} has made"):
            lineage.log_output(run.wandb, folder, record, weights=tracking["weights"])


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Lineage asks the server before it notes anything: one that has gone since costs that note, not the whole run."""
    try:
        yield
    except Exception as error:
        say(f"{what} is not recorded: {one_line(error)}")
