"""Takes out of a topic's checks what only the course needs: the makers of lab.kept, and all that nobody else uses.

What lab.kept returns rests on the world alone, so a release brings it along as a value (grader.release), and the code that makes
it, the reference's answer first of all, is cut from the sources together with every function, class, method, constant and import
that is then reached from nowhere. Edits are made in the text: what stays, stays as it was written.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Span = tuple[int, int]  # from the first line to the last, from 1

# Names by which the workshop itself reaches into checks.py.
ENTRANCES = frozenset({"SUBJECTS", "HINTS", "MISCONCEPTIONS", "IMPORTS", "twelve_weeks_later"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class _Unit:
    """A top-level statement, or a method of a class. ``names``: what it defines; ``uses``, ``attributes``, ``texts``: names,
    attributes and text constants in it."""

    module: str
    names: frozenset[str]
    uses: frozenset[str]
    attributes: frozenset[str]
    texts: frozenset[str]
    lines: Span
    owner: _Unit | None = None
    always: bool = False
    reached: bool = field(default=False, compare=False)


def strip(
    sources: Mapping[str, str], called: Mapping[str, str], entrances: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """The sources by module without what is not reached. ``called``: the text by which others name a module, such as "3.4" or
    "access"; whoever has that text may reach in it every name that is an attribute anywhere in them. ``entrances``: by module,
    further names that are used from outside."""
    texts = {module: _without_makers(text) for module, text in sources.items()}
    units = [u for module, text in texts.items() for u in _units(module, text)]
    _reach(units, {text: module for module, text in called.items()}, entrances)
    return {module: _tidy(_cut(text, [u for u in units if u.module == module])) for module, text in texts.items()}


def kept_sites(source: str) -> list[Span]:
    """The lines of every call of kept() in a module."""
    return [(call.lineno, call.end_lineno) for call in _kept_calls(ast.parse(source))]


# -- the makers ----------------------------------------------------------------------------------------------------------


def _kept_calls(tree: ast.AST) -> list[ast.Call]:
    return [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "kept" and len(n.args) == 2
    ]


def _without_makers(source: str) -> str:
    """Takes the second argument from every kept(), and what in the same function served it alone."""
    lines = source.splitlines(keepends=True)
    calls = _kept_calls(ast.parse(source))
    freed: set[str] = set()
    for call in sorted(calls, key=lambda c: c.args[1].lineno, reverse=True):
        name, maker = call.args
        freed |= {n.id for n in ast.walk(maker) if isinstance(n, ast.Name)}
        _erase(lines, (name.end_lineno, name.end_col_offset), (call.end_lineno, call.end_col_offset - 1))
    text = "".join(lines)
    while True:
        doomed = [s for f in _functions(ast.parse(text)) for s in _idle(f, freed)]
        if not doomed:
            return text
        for statement in doomed:
            freed |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
        text = _without_lines(text, [_span(s) for s in doomed])


def _functions(tree: ast.AST) -> list[Function]:
    """Functions and methods that are in no other function."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            found.append(node)
        elif isinstance(node, ast.ClassDef):
            found += _functions(node)
    return found


def _idle(function: Function, freed: set[str]) -> list[ast.stmt]:
    """Statements directly in a function that define what only makers used: nested functions and plain assignments."""
    used = _loaded([function])
    found = []
    for statement in function.body:
        if isinstance(statement, Function):  # which may call itself
            others = _loaded(s for s in function.body if s is not statement)
            if statement.name in freed - others:
                found.append(statement)
        elif isinstance(statement, ast.Assign):
            targets = {n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            plain = all(isinstance(t, ast.Name | ast.Tuple) for t in statement.targets)
            if plain and targets & freed and not targets & used:
                found.append(statement)
    return found


def _loaded(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are read."""
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


# -- what is reached -----------------------------------------------------------------------------------------------------


def _units(module: str, source: str) -> list[_Unit]:
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found += _class_units(module, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
            found.append(
                _unit(module, node, {(a.asname or a.name).partition(".")[0] for a in node.names}, always=future)
            )
        elif isinstance(node, Function):
            found.append(_unit(module, node, {node.name}, always=_is_check(node)))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            found.append(_unit(module, node, names, always=bool(names & ENTRANCES)))
        else:
            # What the module says of itself speaks of makers, too.
            words = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            found.append(_unit(module, node, set(), always=not words))
    return found


def _class_units(module: str, node: ast.ClassDef) -> list[_Unit]:
    """The class without its methods, and each method (reached with the class, and by its name as an attribute)."""
    methods = [m for m in node.body if isinstance(m, Function) and not m.name.startswith("__")]
    rest = [n for n in ast.iter_child_nodes(node) if n not in methods]
    whole = _Unit(module, frozenset({node.name}), *_uses(rest), _span(node))
    return [whole, *(_Unit(module, frozenset({m.name}), *_uses([m]), _span(m), owner=whole) for m in methods)]


def _unit(module: str, node: ast.stmt, names: set[str], *, always: bool) -> _Unit:
    return _Unit(module, frozenset(names), *_uses([node]), _span(node), always=always)


def _uses(nodes: Iterable[ast.AST]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    walked = [n for node in nodes for n in ast.walk(node)]
    texts = {n.value for n in walked if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return (
        frozenset(n.id for n in walked if isinstance(n, ast.Name)),
        frozenset(n.attr for n in walked if isinstance(n, ast.Attribute)),
        frozenset(texts),
    )


def _is_check(node: Function) -> bool:
    return any(isinstance(d, ast.Call) and getattr(d.func, "id", None) == "check" for d in node.decorator_list)


def _reach(units: list[_Unit], called: Mapping[str, str], entrances: Mapping[str, Iterable[str]]) -> None:
    wanted: set[tuple[str, str]] = {(module, name) for module, names in entrances.items() for name in names}
    attributes: dict[str, set[str]] = {}  # by module, in what is reached of it
    named: dict[str, set[str]] = {}  # by module, those that name it
    changed = True
    while changed:
        changed = False
        every = set().union(*attributes.values())
        for unit in units:
            if unit.reached:
                continue
            if unit.owner is not None:
                due = unit.owner.reached and bool(unit.names & every)
            else:
                outside = {name for other in named.get(unit.module, ()) for name in attributes[other]}
                due = unit.always or bool(unit.names & (outside | ENTRANCES))
                due = due or any((unit.module, name) in wanted for name in unit.names)
            if due:
                unit.reached = changed = True
                wanted |= {(unit.module, name) for name in unit.uses}
                attributes.setdefault(unit.module, set()).update(unit.attributes)
                for text in unit.texts & called.keys():
                    named.setdefault(called[text], set()).add(unit.module)


# -- the text ------------------------------------------------------------------------------------------------------------


def _span(node: ast.stmt) -> Span:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return first, node.end_lineno


def _erase(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Takes out the text between two places; columns are in bytes of UTF-8, as ast gives them."""
    (first, at), (last, to) = start, end
    head = lines[first - 1].encode()[:at].decode()
    tail = lines[last - 1].encode()[to:].decode()
    lines[first - 1 : last] = [head + tail]


def _without_lines(text: str, spans: Iterable[Span]) -> str:
    """The text without these lines and the comments right above them."""
    lines = text.splitlines(keepends=True)
    gone: set[int] = set()
    for first, last in spans:
        above = first
        while above > 1 and lines[above - 2].lstrip().startswith("#"):
            above -= 1
        gone |= set(range(above, last + 1))
    return "".join(line for n, line in enumerate(lines, 1) if n not in gone)


def _cut(text: str, units: list[_Unit]) -> str:
    return _without_lines(text, [u.lines for u in units if not u.reached and not (u.owner and not u.owner.reached)])


def _tidy(text: str) -> str:
    """Imports by single names that are not used any more go; so do headings and blank lines that head nothing."""
    tree = ast.parse(text)
    used, _, _ = _uses(n for n in tree.body if not isinstance(n, ast.Import | ast.ImportFrom))
    lines = text.splitlines(keepends=True)
    for node in reversed(tree.body):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = [a for a in node.names if (a.asname or a.name) in used]
            if names and len(names) < len(node.names):
                listed = ", ".join(ast.unparse(a) for a in names)
                lines[node.lineno - 1 : node.end_lineno] = [f"from {node.module} import {listed}\n"]
    out: list[str] = []
    for line in lines:
        blank = not line.strip()
        if blank and len(out) >= 2 and not out[-1].strip() and not out[-2].strip():
            continue
        if line.startswith("# -- ") and any(o.strip() for o in out[-3:]) and _last_text(out).startswith("# -- "):
            while out and not out[-1].startswith("# -- "):
                out.pop()
            out.pop()
        out.append(line)
    return "".join(out).rstrip() + "\n"


def _last_text(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")
