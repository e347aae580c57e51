"""Where things are: the repository, and the learner's own folder (worlds, progress, certified seeds)."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CURRICULUM = REPOSITORY / "curriculum"
DATASETS = REPOSITORY / "datasets"


def home() -> Path:
    """The folder for worlds and progress: $KESTREL_HOME, else ~/.kestrel. Outside the repository, so updates keep it."""
    return Path(os.environ.get("KESTREL_HOME") or Path.home() / ".kestrel").expanduser()
