"""The Data Operations Workshop: what its notebooks import."""

import os

# No library that the workshop uses may phone home; Great Expectations reads this when it is imported.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from workshop.checks import TODO
from workshop.lab import open_lab, open_lesson
from workshop.progress import progress

__all__ = ["TODO", "open_lab", "open_lesson", "progress"]
