"""Hostile names and cluster strings through a real sbatch: they arrive as they are, and nothing of them is run."""

from __future__ import annotations

import getpass
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import queue
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file that is not there, with a short name."""
    folder = Path(tempfile.mkdtemp(prefix="c-"))
    folder.chmod(0o777)
    yield folder / "c"
    shutil.rmtree(folder)


def test_what_a_config_says_is_data_for_sbatch_and_for_the_script(slurm: Cluster, tmp_path: Path, canary: Path) -> None:
    commands = (f"touch {canary}", f"$(touch {canary})", f"`touch {canary}`")
    comment = f"it's \"x\" #SBATCH --wrap='{commands[0]}' ; {' '.join(commands)} \\ | & > {canary}"
    store = tmp_path / f"a '$(touch {canary.name})' ; `touch {canary.name}`"
    name = f"x\"; {' ; '.join(commands)} # '"
    toy = Toy(
        slurm, store, {name: [{"toy_train": {"epochs": 1}}]}, sbatch={"comment": comment, "mail-user": commands[1]}
    )
    assert toy.run("--wait") == 0
    assert {entry.state for entry in toy.plan()} == {"done"}
    assert not canary.exists() and not list(store.rglob(canary.name))
    scripts = list(store.glob("users/*/jobs/*/*.sh"))
    assert scripts
    for script in scripts:
        options = [line.partition("=")[0] for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
        assert options.count("#SBATCH --comment") == 1 and "#SBATCH --wrap" not in options


def test_a_job_whose_name_has_lines_of_its_own_is_one_job(slurm: Cluster) -> None:
    """Whoever may submit jobs can name them so; without this they would be shown as jobs of somebody else."""
    token = "0" * 12
    job = slurm.run(
        "sbatch", "--parsable", "--hold", f"--job-name=x\n99|RUNNING|None|root|n1||x~{token}", "--wrap=true"
    )
    found = queue.read([getpass.getuser()])
    assert [each.id for each in found.entries if each.id in (job, "99")] == [job]
    assert all(each.token is None for each in found.entries if each.id == job)
