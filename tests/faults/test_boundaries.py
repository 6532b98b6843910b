"""Every boundary between two effects has a name, every name is a boundary, and a run dies at each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.faults import child, kills, steps
from shortlist import failpoints

SOURCE = Path(__file__).parents[2] / "src" / "shortlist"
FILES = sorted([*(SOURCE / "stores").glob("*.py"), *(SOURCE / "stream").glob("*.py"), *(SOURCE / "data").glob("*.py")])
FILES += [SOURCE / "release.py", SOURCE / "packed.py"]
FILES.remove(SOURCE / "stores" / "milvus.py")  # effects of a server: tests/contracts/test_milvus.py dies before each

EFFECT = re.compile(
    r"""os\.(replace|truncate|pwrite|rename) | draft\.rename | _remove | (shutil\.)?rmtree | \w+\.unlink
    | (self\.)?(_?database)\.(write|new|sweep) | self\._sweep | _sweep | write_durably | _note
    | self\._(store_tail|store_segments|write_segment|write_frame|rewrite|remove|register|compact|put|hold)
    | (self\.|stores\.)?(catalog\.put|log\.append|held\.add|held\.take_for) | refused\.write | release
    | state\.push | remember | setbacks\.tell
    | (self\.)?_connection\.execute\('COMMIT'\)""",
    re.VERBOSE,
)
"""Calls after which another process, or the next start, finds something else than before."""


PRIMITIVE = re.compile(
    r"os\.(replace|truncate|pwrite|rename) | draft\.rename | _remove | (shutil\.)?rmtree | \w+\.unlink", re.X
)


def effects(function: ast.AST) -> list[tuple[int, ast.AST]]:
    """(line at which it has happened, node) of every effect in `function`, leaving out what only cleans up."""
    found: list[tuple[int, ast.AST]] = []

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.ExceptHandler | ast.FunctionDef | ast.Lambda) and node is not function:
            return
        if isinstance(node, ast.With):
            for item in node.items:
                if isinstance(item.context_expr, ast.Call) and is_effect(item.context_expr):
                    found.append((node.end_lineno or 0, node))
                else:
                    walk(item.context_expr)
            for each in node.body:
                walk(each)
            return
        if isinstance(node, ast.Try):
            for each in [*node.body, *node.orelse]:
                walk(each)
            return
        if isinstance(node, ast.Call) and is_effect(node):
            found.append((node.end_lineno or 0, node))
        for child_node in ast.iter_child_nodes(node):
            walk(child_node)

    walk(function)
    return sorted(found, key=lambda each: each[0])


def is_effect(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name.endswith("catalog.rows"):
        return any(each.arg == "create" and ast.unparse(each.value) == "True" for each in call.keywords)
    if name == "pack":  # of `packed`; that of the stores makes bytes of columns
        return [ast.unparse(each) for each in call.args[1:]] not in ([], ["sql"])
    return bool(EFFECT.fullmatch(name) or EFFECT.fullmatch(ast.unparse(call)))


def named_lines(function: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.at"
    ]


def calls(node: ast.AST) -> list[ast.Call]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Call)]


def exclusive(function: ast.AST, first: ast.AST, second: ast.AST) -> bool:
    """Only one of the two happens: they stand in different branches."""
    for node in ast.walk(function):
        if isinstance(node, ast.If):
            body, other = ({*(id(n) for each in part for n in ast.walk(each))} for part in (node.body, node.orelse))
            leaves = isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue)
            if id(first) in body and (id(second) in other or (leaves and id(second) not in body)):
                return True
    return False


def functions(file: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.fault("P2")
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_between_two_effects_stands_a_name(file: Path) -> None:
    bare = []
    for function in functions(file):
        lines, happened = named_lines(function), effects(function)
        for (before, first), (after, second) in pairwise(happened):
            if after > before and not exclusive(function, first, second):
                begin = getattr(second, "lineno", after) if not isinstance(second, ast.With) else after
                if not any(before <= line <= max(begin, after) for line in lines):
                    bare.append(f"{function.name}: between lines {before} and {after}")
        for loop in (node for node in ast.walk(function) if isinstance(node, ast.For | ast.While)):
            if any(PRIMITIVE.fullmatch(ast.unparse(node.func)) for node in calls(loop)) and not named_lines(loop):
                bare.append(f"{function.name}: from one turn to the next of the loop in line {loop.lineno}")
    assert not bare, f"{file.name}: name these boundaries with failpoints.at and failpoints.POINTS: {bare}"


@pytest.mark.fault("P2")
def test_every_name_is_in_the_source_and_listed() -> None:
    source = {
        node.args[0].value
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "failpoints.at"
        and isinstance(node.args[0], ast.Constant)
    }
    assert source == set(failpoints.POINTS)


@pytest.mark.fault("P2")
def test_a_run_dies_at_every_name() -> None:
    covered = {*kills.SERVED, *steps.POINTS}
    assert covered == set(failpoints.POINTS)


def test_nothing_happens_at_a_boundary_unless_a_test_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORTLIST_FAILPOINTS", "commit.after=exit")
    failpoints.at("commit.after")
    assert "environ" not in (SOURCE / "failpoints.py").read_text("utf-8").replace("no environment variable", "")


def test_actions() -> None:
    hit = child.hits("commit.after=raise@2")
    hit("commit.after")
    hit("file.written")
    with pytest.raises(OSError, match=r"failpoint commit\.after"):
        hit("commit.after")
    with pytest.raises(ValueError, match="not one of"):
        child.hits("commit.never=exit")
    with pytest.raises(ValueError, match="none of exit"):
        child.hits("commit.after=explode")("commit.after")
