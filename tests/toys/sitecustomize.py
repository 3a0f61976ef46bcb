"""Makes the toy stages of the tests legal stages, in workers too: Python imports this module when it starts."""

from pathlib import Path

import stages

stages.__path__.append(str(Path(__file__).parent / "stages"))
