"""What a config names, checked when it is composed by the one rule of `launch.naming`: each error has key and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from launch import naming
from launch.job import Allocation, Cluster
from orchestrator.values import shown

#: Fields of a class of resources that sbatch is given as they are.
_VALUES = ("partition", "account", "qos", "constraint", "gres")


def faults(key: str, names: Iterable[str]) -> Iterator[str]:
    """What is wrong with the names that stand at a key."""
    for name in names:
        if (why := naming.fault(name)) is not None:
            yield f"{key}={shown(name)}: {why}"


def too_long(key: str, name: str, why: str, remedy: str) -> Iterator[str]:
    """That a name is longer than a file system holds."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > naming.LONGEST:
        allowed = f"allowed: at most {naming.LONGEST}; shorten the {remedy}"
        yield f"{key}={shown(name)}: {size} bytes of UTF-8, and {why}; {allowed}"


def of_cluster(cluster: Cluster) -> Iterator[str]:
    """What is wrong with the texts that a cluster hands to sbatch, each where it is said first."""
    yield from faults("cluster.classes", cluster.classes)
    places = {
        "cluster.default": cluster.default,
        **{f"cluster.classes.{name}": needs for name, needs in cluster.classes.items()},
        **{f"cluster.stages.{name}": needs for name, needs in cluster.stages.items()},
    }
    seen: set[tuple[str, str]] = set()
    for key, needs in places.items():
        for name, value in _texts(needs):
            if (name, value) in seen:
                continue
            seen.add((name, value))
            if (why := naming.value_fault(value)) is not None:
                yield f"{key}.{name}={shown(value)}: {why}"
        for name in needs.sbatch:
            if not naming.OPTION.fullmatch(name) and (name, "") not in seen:
                seen.add((name, ""))
                yield f"{key}.sbatch={shown(name)}: is no option; allowed: the names that sbatch has for its options"


def _texts(needs: Allocation) -> Iterator[tuple[str, str]]:
    """(Field, value) of what a class of resources says in words."""
    for name in _VALUES:
        if isinstance(value := getattr(needs, name), str):
            yield name, value
    for name, value in needs.sbatch.items():
        if isinstance(value, str) and naming.OPTION.fullmatch(name):
            yield f"sbatch.{name}", value
