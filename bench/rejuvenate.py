"""What rejuvenation costs: `python -m bench.rejuvenate fusion` and `python -m bench.rejuvenate attribution`.

fusion: fuse-and-reset of two random checkpoints, from opening both to the published artifact (`bench.fusion`).
attribution: scores of a random half-billion Llama, all targets together and one at a time (`bench.attribution`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import attribution, fusion


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("fusion", help="fuse-and-reset of two random checkpoints")
    part.add_argument("--gigabytes", type=float, default=2.0, help="of each checkpoint, in bfloat16")
    part.add_argument("--folder", type=Path, help="where the checkpoints are made, and removed at the end")
    part.add_argument("--rounds", type=int, default=3, help="the first is slower where memory is given on demand")
    part.set_defaults(run=lambda given: fusion.measure(given.gigabytes, given.folder, given.rounds))
    part = parts.add_parser("attribution", help="scores of a random half-billion Llama")
    part.add_argument("--samples", type=int, default=16, help="of 256 tokens")
    part.add_argument("--targets", type=int, default=8, help="of each sample")
    part.add_argument("--peers", type=int, default=8, help="targets that are also scored one at a time")
    part.set_defaults(run=lambda given: attribution.measure(given.samples, given.targets, given.peers))
    given = parser.parse_args(arguments)
    given.run(given)


if __name__ == "__main__":
    main(sys.argv[1:])
