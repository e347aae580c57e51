"""Books of cohorts that were never graded, for what reads books."""

from __future__ import annotations

from pathlib import Path

from grader.course import Course
from grader.gradebook import Gradebook
from workshop.topics import syllabus

CHECKS = 10  # of each lab

# One row a learner, topic and check: a learner's strength, a topic's ease and a check's own draw decide.
_MADE = """
create temp table made as
select 'learner ' || format('{:04d}', l) as learner, t.topic, c as n,
  hash(l, 'strength') / 18446744073709551615 * 0.6 + hash(t.topic, 'ease') / 18446744073709551615 * 0.4
    + 0.2 * c / 10 > hash(l, t.topic, c) / 18446744073709551615 * 1.1 as is_passed,
  sha256(l || ' ' || t.topic) as key
from range(1, ? + 1) ls(l), (select unnest(?::varchar[]) as topic) t, range(?) cs(c)
where hash(l, t.topic, 'there') % 20 > 0
"""
_STEPS = (
    "insert into learners select distinct learner from made",
    """insert into submissions
    select row_number() over (order by learner, topic), learner, topic, learner || '/' || topic || '.ipynb', key,
      '2026-11-20'::timestamp, 1, key, true
    from (select distinct learner, topic, key from made)""",
    """insert into runs
    select key, topic, key, 'graded', count(*) filter (is_passed), count(*), 'same', 'w', 0.02, 'g', 's', 'sandbox', 1, 2.0,
      '2026-11-20'::timestamp, false, '{}'
    from made group by key, topic""",
    """insert into check_results
    select key, chr(97 + (n // 4)::integer), 'check_' || n, 'what check ' || n || ' looks at', if(is_passed, 'passed', 'failed'),
      is_passed::integer, 1, if(is_passed, '', repeat('Of 40 rows 7 are not where they should be. ', 4)),
      if(is_passed, null, 'Which of these rows was loaded twice?'), if(is_passed, null, 'misconception_' || n % 4), false, false
    from made order by key, n""",
)


def make_book(path: Path, learners: int) -> Path:
    """A settled book of so many learners with nearly all topics of the syllabus each, ten checks a topic."""
    with Gradebook.open(path) as book:
        book.select(_MADE, learners, [t.id for t in syllabus().topics], CHECKS)
        for sql in _STEPS:
            book.select(sql)
        book.settle(Course())
    return path
