"""Peers: the same graphs, planned by snakemake (`snakemake -n`) and built with dawgz.

Each is given a folder with the graph as bare edges, in `needs.json`, and the command to run there. Neither computes
content addresses; dawgz has no store either: what is measured of it is what it does before it submits the first job.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench import shapes

_SNAKEFILE = """\
import json, sys
sys.setrecursionlimit(10**6)  # a job's inputs are followed by recursion; the default ends near a chain of 300
NEEDS = json.load(open("needs.json"))
ENDS = set(range(len(NEEDS))).difference(*NEEDS)

rule all:
    input: [f"out/{i}" for i in sorted(ENDS)]

rule node:
    input: lambda wildcards: [f"out/{i}" for i in NEEDS[int(wildcards.i)]]
    output: "out/{i}"
    shell: "touch {output}"
"""

_DAWGZ = """\
import json
import dawgz
from dawgz.workflow import cycles, prune

@dawgz.job
def node(i: int):
    pass

needs = json.load(open("needs.json"))
jobs = []
for i, above in enumerate(needs):
    jobs.append(node(i).after(*(jobs[j] for j in above)))
ends = [jobs[i] for i in sorted(set(range(len(needs))).difference(*needs))]
assert not any(cycles(*ends, backward=True))
prune(*ends)
"""

NAMES = ("snakemake", "dawgz")


def find(name: str, venv: Path | None) -> Path | None:
    """The program of a peer, in a virtual environment or on the PATH."""
    found = shutil.which(name, path=str(venv / "bin")) if venv else shutil.which(name)
    return Path(found) if found else None


def command(name: str, program: Path, shape: str, size: int, folder: Path) -> list[str]:
    """Prepare `folder`, and say what to run in it."""
    folder.mkdir(parents=True)
    (folder / "needs.json").write_text(json.dumps(shapes.needs(shape, size)))
    if name == "dawgz":
        (folder / "build.py").write_text(_DAWGZ)
        return [str(program.with_name("python")), "build.py"]
    (folder / "Snakefile").write_text(_SNAKEFILE)
    return [str(program), "-n", "--quiet", "all", "--cores", "1"]
