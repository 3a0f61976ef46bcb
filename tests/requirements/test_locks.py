"""The locks agree with pyproject.toml, are complete, and say nothing but which files are taken."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
ASKED = {
    "build": PROJECT["build-system"]["requires"],
    "head": PROJECT["project"]["dependencies"],
    "tools": PROJECT["dependency-groups"]["tools"],
    **EXTRAS,
}
ENTRY = re.compile(r"[a-z0-9.-]+==[^\s;]+( ; \w+ == '[\w.]+'( or \w+ == '[\w.]+')*)?( --hash=sha256:[0-9a-f]{64})+")


def entries(lock: Path) -> list[str]:
    """The lines of a lock, continued lines as one."""
    lines = re.sub(r" \\\n +", " ", lock.read_text()).splitlines()
    return [line for line in lines if not line.startswith("#")]


def locked(lock: Path) -> Iterator[tuple[str, str]]:
    """Each package and its version."""
    for entry in entries(lock):
        name, _, version = entry.split(" ")[0].partition("==")
        yield name, version


def environment(name: str) -> list[Path]:
    """The locks that the Makefile installs together."""
    found = re.search(rf"^LOCKS_{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return [ROOT / "requirements" / f"{each}.txt" for each in found[1].split()]


def asked(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, with the extras of the project that it includes."""
    for requirement in map(Requirement, ASKED[extra]):
        if requirement.name == PROJECT["project"]["name"]:
            for other in requirement.extras:
                yield from asked(other)
        else:
            yield requirement


@pytest.mark.parametrize("extra", ASKED)
def test_every_requirement_has_an_upper_bound(extra: str) -> None:
    for requirement in asked(extra):
        assert any(each.operator in ("<", "<=", "==", "~=") for each in requirement.specifier), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_versions_and_hashes_and_no_index(lock: Path) -> None:
    assert [entry for entry in entries(lock) if not ENTRY.fullmatch(entry)] == []


@pytest.mark.parametrize(
    ("extra", "where"),
    [*((extra, "cpu") for extra in ("head", *EXTRAS) if extra != "vllm"), ("head", "gpu"), ("vllm", "gpu")],
)
def test_what_an_extra_asks_for_is_locked_within_its_bounds(extra: str, where: str) -> None:
    versions = {name: version for lock in environment(where) for name, version in locked(lock)}
    for requirement in asked(extra):
        version = versions.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{requirement} is not in a lock: make lock"


@pytest.mark.parametrize("lock", ["build", "tools"])
def test_what_builds_and_audits_is_locked_within_its_bounds(lock: str) -> None:
    versions = dict(locked(ROOT / "requirements" / f"{lock}.txt"))
    assert [each for each in asked(lock) if not each.specifier.contains(versions[each.name])] == []


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_an_environment_has_one_version_of_a_package(name: str) -> None:
    pins = {pin for lock in environment(name) for pin in locked(lock)}
    assert len(pins) == len({package for package, _ in pins})


def test_every_lock_is_of_an_environment() -> None:
    assert {*environment("cpu"), *environment("gpu")} | {
        ROOT / "requirements" / f"{each}.txt" for each in ("build", "tools")
    } == set(LOCKS)


def test_what_a_locked_package_needs_is_locked() -> None:
    """pip installs them with --no-deps, so nobody else would notice. What the CPU cannot use is named."""
    settings = tomllib.loads((ROOT / "requirements" / "uv-cpu.toml").read_text())
    versions = {name: version for lock in environment("cpu") for name, version in locked(lock)}
    installed = {name: version for name, version in versions.items() if has(name, version)}
    assert len(installed) > len(versions) / 2, "these are not the packages of this environment: make setup"
    for name in installed:
        for requirement in map(Requirement, metadata.requires(name) or ()):
            needs = canonicalize_name(requirement.name)
            if needs not in settings["exclude-dependencies"] and holds(requirement):
                assert needs in versions and requirement.specifier.contains(versions[needs], prereleases=True), (
                    f"{name} needs {requirement}"
                )


def has(name: str, version: str) -> bool:
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def holds(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
