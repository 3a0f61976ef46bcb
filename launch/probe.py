"""What a machine of the cluster sees: `python -m launch.probe FOLDER 0`, a short job that writes it down there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

import launch
from launch import boot, provenance

ANSWER = "answer.json"


def main(folder: Path) -> int:
    """Write down what this machine has. The answer is linked into place, as claims are."""
    draft = folder / f"{ANSWER}.draft"
    draft.write_text(
        json.dumps(
            {
                "host": socket.gethostname(),
                "node": os.environ.get("SLURMD_NODENAME"),
                "code": str(Path(str(launch.__file__)).parent.parent),
                "scontrol": shutil.which("scontrol"),
                "python": platform.python_version(),
                "packages": provenance.packages(),
            }
        )
    )
    os.link(draft, folder / ANSWER)
    draft.unlink()
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    boot.leave()
    sys.exit(code)
