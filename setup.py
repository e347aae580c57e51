"""A wheel carries what grading needs of the repository, so that a cluster's workers need no clone of it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("curriculum", "datasets", "labs", "requirements.txt")


class BuildWithRepository(build_py):
    """Copies CARRIED into workshop/_repository of what is built; an editable install has the repository itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in CARRIED:
            source, target = Path(name), Path(self.build_lib, "workshop", "_repository", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithRepository})
