"""The set-ups for GitHub Classroom and GitLab: their own commands, run as they stand, on repositories of learners."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from grader.collect import collect
from workshop.paths import REPOSITORY
from workshop.topics import topic

HANDOUT = REPOSITORY / "grader" / "handout"
PRACTICE = {"github": HANDOUT / ".github/workflows/practice.yml", "gitlab": HANDOUT / ".gitlab-ci.yml"}
GRADE = {kind: REPOSITORY / "docs" / "classroom" / f"{kind}-grade.yml" for kind in PRACTICE}
LAB = topic("3.6").notebook("labs").relative_to(REPOSITORY)


def commands(path: Path) -> dict[str, str]:
    """The shell commands of a set-up, by the step's name (GitHub) or number (GitLab)."""
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "jobs" in plain:
        (job,) = plain["jobs"].values()
        return {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    (job,) = plain.values()
    return {str(n): text for n, text in enumerate([*job["before_script"], *job["script"]])}


def shell(text: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clones of two learners' repositories, called as GitHub Classroom calls them."""
    folder = tmp_path_factory.mktemp("classroom")
    for learner, at in (("ada", 1_800_000_000), ("ben", 1_800_086_400)):
        place = folder / "submissions" / f"course-{learner}"
        (place / LAB).parent.mkdir(parents=True)
        (place / LAB).write_bytes(b"{}")
        (place / "README.md").write_text("notes")
        me = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        dated = os.environ | {"GIT_COMMITTER_DATE": f"@{at} +0000", "GIT_AUTHOR_DATE": f"@{at} +0000"}
        for command in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "lab"]):
            subprocess.run(["git", *command], cwd=place, env=dated, check=True)
        (place / "README.md").write_text("later")
        subprocess.run(["git", *me, "commit", "-qam", "notes"], cwd=place, check=True)
    return folder


@pytest.mark.parametrize("kind", PRACTICE)
def test_what_learners_are_given_knows_no_secret(kind: str) -> None:
    text = PRACTICE[kind].read_text(encoding="utf-8")
    yaml.safe_load(text)
    for word in ("secrets.", "KESTREL_SECRET", "TOKEN", "--seed", "cohort"):
        assert word not in text, word
    assert "grader.practice" in text
    assert "KESTREL_SECRET" in GRADE[kind].read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", PRACTICE)
def test_the_practice_command_is_one_that_there_is(kind: str, tmp_path: Path) -> None:
    """Run as it stands on a notebook that is none, beside the whole repository: it is refused, and the report says so."""
    (text,) = [t for t in commands(PRACTICE[kind]).values() if "grader.practice" in t]
    (tmp_path / "bad.ipynb").write_bytes(b"no notebook")
    line = text.replace("grader.practice", "grader.practice bad.ipynb").replace("python ", f"{os.sys.executable} ")
    done = shell(f"mkdir -p practice\n{line}", tmp_path, PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 1 and "The file is not a notebook" in done.stdout, done.stderr
    assert "<error" in (tmp_path / "practice" / "report.xml").read_text()


@pytest.mark.parametrize("kind", GRADE)
def test_labs_are_collected_with_the_times_of_their_commits(kind: str, submissions: Path) -> None:
    steps = commands(GRADE[kind])
    (times,) = [t for t in steps.values() if t.lstrip().startswith("for repository")]
    done = shell(times, submissions)
    assert done.returncode == 0, done.stderr
    (grade,) = [t for t in steps.values() if "grader cohort" in t]
    pattern = grade.partition('--pattern "')[2].partition('"')[0].replace("$PREFIX", "course")
    found = collect(submissions / "submissions", pattern).submissions
    names = {"github": ["ada", "ben"], "gitlab": ["course-ada", "course-ben"]}[kind]
    assert [(s.learner, s.topic) for s in found] == [(n, "3.6") for n in names]
    assert [int(s.submitted.timestamp()) for s in found] == [1_800_000_000, 1_800_086_400]


@pytest.mark.parametrize("kind", GRADE)
def test_the_secret_is_a_file_of_this_run_alone(kind: str, tmp_path: Path) -> None:
    """The step that grades, with what grades replaced by something that looks at the secret."""
    (grade,) = [t for t in commands(GRADE[kind]).values() if "grader cohort" in t]
    spy = tmp_path / ".venv" / "bin" / "python"
    spy.parent.mkdir(parents=True)
    spy.write_text(
        '#!/bin/bash\nwhile [ "$1" != --secret ]; do shift; done\nstat -c "%a %s" "$2" > seen; echo "$2" >> seen\n'
    )
    spy.chmod(0o755)
    env = {
        "KESTREL_SECRET": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "RUNNER_TEMP": str(tmp_path),
        "PREFIX": "course",
    }
    done = shell(grade, tmp_path, **env)
    assert done.returncode == 0, done.stderr
    seen, place = (tmp_path / "seen").read_text().split("\n")[:2]
    assert seen == "600 32"
    assert not Path(place).exists()
