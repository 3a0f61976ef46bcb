"""Options of sbatch: those that the product lives on are refused in every spelling, all others are passed on."""

import pytest

from launch import options
from launch.job import Allocation, Cluster
from orchestrator import clusters


def cluster(**sbatch: str | int | bool) -> Cluster:
    return Cluster(launcher="slurm", default=Allocation(sbatch=sbatch), stages={"sft": Allocation(sbatch=sbatch)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job-name", "x"), ("job_name", "x"), ("J", "x"), ("job-n", "x"), ("job", "x"), ("--job-name", "x"),
        ("array", "0-3"), ("a", "0-3"), ("arr", "0-3"), ("dependency", "afterok:1"), ("d", "singleton"),
        ("depend", "afterok:1"), ("output", "o.%j"), ("o", "o.%j"), ("error", "e.%j"), ("e", "e.%j"), ("err", "e"),
        ("requeue", False), ("no-requeue", True), ("no_requeue", True), ("open-mode", "truncate"), ("open_mode", "t"),
        ("signal", "USR1@60"), ("kill-on-invalid-dep", "no"), ("kill_on_invalid_dep", False), ("parsable", True),
        ("wait", True), ("W", True), ("wrap", "true"), ("test-only", True), ("quiet", True), ("nodes", 2), ("N", 2),
        ("ntasks", 4), ("ntasks_per_node", 4), ("c", 4), ("cpus-per-task", 4), ("clusters", "other"), ("M", "all"),
        ("export", "NONE"), ("export", "PATH"), ("export-file", "x"),
    ],
)  # fmt: skip
def test_an_option_that_the_product_lives_on_is_refused_with_its_key(name: str, value: str | int | bool) -> None:
    if (name, value) == ("kill_on_invalid_dep", False):
        assert clusters.errors(cluster(**{name: value})) == []  # as if it were not there
        return
    (message,) = clusters.errors(cluster(**{name: value}))
    assert (
        message.startswith(f"cluster.default.sbatch.{name}={value}: ") and options.OURS[options.named(name)] in message
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "value"), ("account", "lab"), ("A", "lab"), ("partition", "long"), ("p", "x"), ("qos", "high"),
        ("constraint", "a100"), ("gres", "gpu:2"), ("nodelist", "n3"), ("exclude", "n1"), ("mail-user", "a@b"),
        ("mail_user", "a@b"), ("mail-type", "END"), ("comment", "x"), ("licenses", "l:1"), ("reservation", "lab"),
        ("nice", 100), ("tmp", "10G"), ("exclusive", True), ("exclusive", "user"), ("hint", "nomultithread"),
        ("hold", True), ("time", "1-0"), ("mem", "10G"), ("mem-per-cpu", "2G"), ("begin", "now+1hour"),
        ("export", "ALL,X=1"), ("wckey", "k"), ("gpus-per-node", 2), ("container-image", "x"),
    ],
)  # fmt: skip
def test_any_other_option_is_passed_on_by_its_name(name: str, value: str | int | bool) -> None:
    assert clusters.errors(cluster(**{name: value})) == []
    written = {"A": "account", "p": "partition"}.get(name, name.replace("-", "_"))
    assert options.given({name: value}) == {written: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requeue", True),
        ("kill-on-invalid-dep", "yes"),
        ("open-mode", "append"),
        ("no-requeue", False),
        ("exclusive", False),
    ],
)
def test_what_is_so_anyway_may_be_said(name: str, value: str | bool) -> None:
    assert clusters.errors(cluster(**{name: value})) == []
    assert options.given({name: value}) == {}


def test_an_option_that_nobody_knows_is_passed_on_with_a_note() -> None:
    (note,) = clusters.notes(cluster(partiton="long"))
    assert note == (
        "cluster.default.sbatch.partiton=long: no option of sbatch that is known here; did you mean 'partition'?; "
        "passed on as --partiton"
    )
    assert clusters.notes(cluster(partition="long", A="lab")) == []


def test_only_slurm_has_options() -> None:
    here = Cluster(launcher="local", default=Allocation(sbatch={"job_name": "x"}), stages={})
    assert clusters.errors(here) == clusters.notes(here) == []
