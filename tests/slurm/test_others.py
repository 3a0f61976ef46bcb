"""What another member of the group does to the code, the orders and the scripts of a user runs nothing as that user."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import boot
from tests.slurm.cluster import Cluster, users
from tests.slurm.test_users import done, head, owners, shared  # noqa: F401 (a fixture)

#: One shell command as bob: each would make alice's job run his code, or do what he says.
ACTS = """echo evil > {code}/stages/contract.py
echo evil > {code}/sitecustomize.py
echo evil > {code}/yaml.py
echo evil > {code}/planted.pth
ln -s /etc/passwd {code}/yaml.py
mv {code} {code}-away
mv {alice}/snapshots {alice}/away
mv {alice} {store}/users/away
rm -r {alice}
echo evil > {order}/order.json
ln -sf {evil} {order}/order.json
rm -f {order}/order.json
echo evil > {order}/{job}_0_log.out
cat {code}/stages/contract.py
ls {code}
"""
only_root = pytest.mark.skipif(not users(), reason="only root makes users")


@pytest.fixture
def held(slurm: Cluster) -> Iterator[Cluster]:
    """A cluster whose jobs wait until the partition is up."""
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    yield slurm
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")


def go(slurm: Cluster) -> None:
    """Let the jobs run, and wait until none is left."""
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    slurm.wait_until(lambda: not slurm.run("squeue", "--noheader"))


def as_bob(command: str) -> int:
    return subprocess.run(["runuser", "-u", "bob", "--", "sh", "-c", command], capture_output=True).returncode


def base(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return next(node for node in nodes if node["stage"] == "toy_base")


@only_root
def test_another_user_cannot_touch_code_and_orders_that_wait(held: Cluster, shared: Path) -> None:  # noqa: F811
    submitted, told = done(head(held, "alice", shared))
    assert f"note: others may move what is in {shared}, which belongs to root; root runs: chmod +t {shared}" in told
    alice = shared / "users/alice"
    (code,) = (alice / "snapshots").iterdir()
    order, *_ = (alice / "jobs").iterdir()
    job = min(submitted["jobs"])
    evil = shared.parent / "evil"
    evil.write_text("{}")
    given = {"code": code, "alice": alice, "store": shared, "order": order, "evil": evil, "job": job}
    assert [act for act in ACTS.splitlines() if as_bob(act.format(**given)) == 0] == []
    go(held)
    assert set(owners(shared).values()) == {"alice"} and len(owners(shared)) == 9


@only_root
def test_code_and_orders_in_a_folder_that_another_user_has_put_there_are_not_run(
    held: Cluster,
    shared: Path,  # noqa: F811
) -> None:
    """The root of this store is its maker's, who has not made it sticky: a member may move what is in it."""
    done(head(held, "alice", shared))
    canary = shared.parent / "canary"
    (shared.parent).chmod(0o777)
    (code,) = (shared / "users/alice/snapshots").iterdir()
    plant(shared, code, canary)
    go(held)
    nodes = done(head(held, "alice", shared, "status"))[0]["nodes"]
    said = base(nodes)["reason"]
    assert "the code that was submitted is not run" in said and "belongs to user" in said
    assert not canary.exists()
    shutil.rmtree(shared / "users")
    (shared / "away").rename(shared / "users")
    done(head(held, "alice", shared, "--wait"))
    assert set(owners(shared).values()) == {"alice"} and len(owners(shared)) == 9
    assert not canary.exists()


def plant(store: Path, code: Path, canary: Path) -> None:
    """As bob: move everybody's folders away, and put a copy of alice's there, with other code and orders."""
    orders = [folder.name for folder in (store / "users/alice/jobs").iterdir()]
    assert as_bob(f"mv {store}/users {store}/away") == 0
    evil = f"open('{canary}', 'w')"
    for package in ("launch", "stages"):
        assert as_bob(f'mkdir -p {code}/{package} && echo "{evil}" > {code}/{package}/__init__.py') == 0
    assert as_bob(f'echo "{evil}" > {code}/sitecustomize.py; echo "{{}}" > {code}/{boot.FILES}') == 0
    for token in orders:
        folder = store / "users/alice/jobs" / token
        plain = json.dumps({"token": token, "tasks": [{"folders": [], "log": str(canary)}] * 9, "root": str(code)})
        assert as_bob(f"mkdir -p {folder} && echo '{plain}' > {folder}/order.json && chmod 777 {folder}") == 0
