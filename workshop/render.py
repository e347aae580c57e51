"""What learners see: HTML in the notebook, plain text elsewhere. All that is not ours is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from workshop.checks import ERROR, FAILED, NOT_ATTEMPTED, PASSED, CheckResult, Evidence
from workshop.topics import TOPICS_IN_MODULE, Syllabus, Topic

# Okabe-Ito colours: told apart by colour-blind readers; each outcome has a sign of its own too.
COLOURS = {PASSED: "#00734f", FAILED: "#a63d00", ERROR: "#8a2a5b", NOT_ATTEMPTED: "#5b6770"}
SIGNS = {PASSED: "✓", FAILED: "✗", ERROR: "!", NOT_ATTEMPTED: "○"}

# Colours come from the reader's theme where it has them, so that dark mode stays legible.
STYLE = """<style>
.kestrel{font-size:14px;line-height:1.45;max-width:66em;color:inherit}
.kestrel h4{margin:.2em 0 .4em;font-size:15px}
.kestrel .check{border-left:4px solid var(--k);padding:.25em .8em;margin:.5em 0}
.kestrel .check{overflow-x:auto;background:color-mix(in srgb,var(--k) 9%,transparent)}
.kestrel .sign{color:var(--k);font-weight:700;margin-right:.4em}
.kestrel .pts{opacity:.75;float:right;font-variant-numeric:tabular-nums}
.kestrel .ask{margin:.3em 0 0;font-style:italic}
.kestrel table{border-collapse:collapse;font-size:12.5px;margin:.3em 0}
.kestrel td,.kestrel th{border:1px solid color-mix(in srgb,currentColor 25%,transparent);padding:.15em .5em}
.kestrel td,.kestrel th{text-align:left!important;white-space:nowrap}
.kestrel pre{margin:.3em 0;white-space:pre-wrap;font-size:12.5px}
.kestrel p{margin:.25em 0}
.kestrel .map{display:grid;grid-template-columns:minmax(11em,16em) repeat(9,minmax(3.4em,1fr));gap:4px;font-size:12.5px}
.kestrel .map .m{align-self:center}
.kestrel .cell{border-radius:4px;padding:.35em .3em;text-align:center}
.kestrel .cell{border:1px solid color-mix(in srgb,currentColor 25%,transparent)}
.kestrel .done{background:#00734f;color:#fff}.kestrel .tried{background:#e69f00;color:#000}
.kestrel .later{opacity:.45}
</style>"""


class Html:
    """Shows as HTML where HTML is shown and as plain text elsewhere."""

    def __init__(self, markup: str, text: str) -> None:
        self.markup = STYLE + f'<div class="kestrel">{markup}</div>'
        self.text = text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.markup, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def number(value: float) -> str:
    """A number of points without a trailing .0."""
    return f"{value:g}"


def evidence_html(item: Evidence) -> str:
    """One piece of evidence as HTML."""
    parts = [f"<p><strong>{html.escape(item.title)}</strong></p>"]
    if item.table is not None:
        parts.append(item.table._repr_html_())
    if item.png is not None:
        data = base64.b64encode(item.png).decode()
        parts.append(f'<img alt="{html.escape(item.title)}" style="max-width:100%" src="data:image/png;base64,{data}">')
    if item.text is not None:
        parts.append(f"<pre>{html.escape(item.text)}</pre>")
    return "".join(parts)


def evidence_text(item: Evidence) -> str:
    """One piece of evidence as plain text."""
    body = str(item.table) if item.table is not None else item.text if item.text is not None else "(a picture)"
    return f"{item.title}:\n" + "\n".join("  " + line for line in body.splitlines())


def result_html(r: CheckResult) -> str:
    """One check's result as HTML."""
    weaker = " <small>(seen from inside your kernel only: weaker evidence)</small>" if r.weaker else ""
    message = f"<p>{html.escape(r.message)}</p>" if r.message and r.outcome != NOT_ATTEMPTED else ""
    ask = f'<p class="ask">{html.escape(r.ask)}</p>' if r.ask else ""
    return (
        f'<div class="check" style="--k:{COLOURS[r.outcome]}"><span class="pts">{number(r.points)} of '
        f'{number(r.max_points)}</span><span class="sign" aria-hidden="true">{SIGNS[r.outcome]}</span>'
        f"<strong>{html.escape(r.outcome)}</strong>: {html.escape(r.title)}{weaker}{message}"
        f"{''.join(evidence_html(e) for e in r.evidence)}{ask}</div>"
    )


def result_text(r: CheckResult) -> str:
    """One check's result as plain text."""
    lines = [f"[{r.outcome}] {r.title} ({number(r.points)} of {number(r.max_points)})"]
    if r.message and r.outcome != NOT_ATTEMPTED:
        lines.append("  " + r.message)
    for e in r.evidence:
        lines += ["  " + line for line in evidence_text(e).splitlines()]
    if r.ask:
        lines.append("  " + r.ask)
    return "\n".join(lines)


def report(task: str, results: Sequence[CheckResult]) -> Html:
    """The results of one task's checks."""
    points, of = sum(r.points for r in results), sum(r.max_points for r in results)
    head = f"Task {task}: {number(points)} of {number(of)} points"
    tail = ""
    if all(r.outcome == NOT_ATTEMPTED for r in results):
        tail = "Nothing has been tried yet: replace the TODO in the cell above and run it."
    elif points < of:
        tail = f'Stuck? lab.hint("{task}") helps in three steps.'
    return Html(
        f"<h4>{html.escape(head)}</h4>{''.join(map(result_html, results))}"
        + (f"<p>{html.escape(tail)}</p>" if tail else ""),
        "\n".join([head, *map(result_text, results)] + ([tail] if tail else [])),
    )


def note(text: str, code: str | None = None) -> Html:
    """A few words, with code below if there is any."""
    return Html(
        f"<p>{html.escape(text)}</p>" + (f"<pre><code>{html.escape(code)}</code></pre>" if code else ""),
        text + (f"\n\n{code}" if code else ""),
    )


def lab_card(item: Topic, world: str, scale: float, points: Mapping[str, float]) -> Html:
    """What open_lab shows: the tasks of the lab and how it works."""
    rows = "".join(
        f"<tr><td>{t.letter}</td><td>{html.escape(t.kind)}</td><td>{html.escape(t.does)}</td>"
        f"<td>{number(points.get(t.letter, 0))}</td></tr>"
        for t in item.tasks
    )
    text = "\n".join(f"  {t.letter}  {t.does} ({t.kind}, {number(points.get(t.letter, 0))} points)" for t in item.tasks)
    return Html(
        f"<h4>Lab {item.id}: {html.escape(item.title)}</h4><table><thead><tr><th>task</th><th>kind</th><th>what it does</th>"
        f"<th>points</th></tr></thead><tbody>{rows}</tbody></table><p>World {html.escape(world)} at scale {scale:g}. "
        f'<code>lab.check("a")</code> judges task a, <code>lab.hint("a")</code> helps, <code>lab.reset("a")</code> shows the '
        "cell as it was handed out.</p>",
        f"Lab {item.id}: {item.title}\n{text}\nWorld {world} at scale {scale:g}.",
    )


def course_map(course: Syllabus, done: Mapping[str, Mapping[str, Any]]) -> Html:
    """The map of topics and capstones: done (all points), tried, open, or not written yet."""
    cells, lines, counts = [], [], {"done": 0, "tried": 0, "open": 0, "later": 0}
    words = {"done": "done", "tried": "tried", "open": "open", "later": "not there yet"}
    for m in course.modules:
        cells.append(f'<div class="m">{m.number}. {html.escape(m.title)}</div>')
        signs = []
        for t in m.topics:
            mine = done.get(t.id, {})
            points, of = sum(mine.get("best", {}).values()), mine.get("of", 10)
            state = "later" if not t.exists else "done" if mine and points >= of else "tried" if mine else "open"
            counts[state] += 1
            cells.append(
                f'<div class="cell {state}" title="{html.escape(t.title)}: {words[state]}">{t.id}'
                f"{f'<br>{number(points)}/{number(of)}' if mine else ''}</div>"
            )
            signs.append({"done": "#", "tried": "+", "open": "o", "later": "."}[state])
        cells += ["<div></div>"] * (TOPICS_IN_MODULE + 1 - len(m.topics))
        lines.append(f"{m.number}. {' '.join(signs)}  {m.title}")
    summary = f"{counts['done']} done, {counts['tried']} tried, {counts['open']} open, {counts['later']} not there yet"
    return Html(f'<div class="map">{"".join(cells)}</div><p>{summary}</p>', "\n".join([*lines, summary]))
