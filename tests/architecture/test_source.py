"""Rules of the source that a script can hold: layers, length, imports, no pickle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "shortlist"
FILES = sorted(SOURCE.rglob("*.py"))

HOME_OF = {
    "polars": {"data", "batch", "eval", "stores"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "typer": {"cli"},
    "rich": {"cli"},
    "asyncmy": {"stores", "data"},
    "psycopg": {"stores", "data"},
    "opentelemetry": {"serve"},
    "torch": {"descent.py"},
    "optuna": {"batch"},
}
"""Libraries that only some rooms may know."""


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


PROVIDED = {"opentelemetry": "opentelemetry_sdk", "faiss": "faiss_cpu", "grpc": "grpcio"}
"""Packages that go by another name than the project that brings them."""


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_imports_point_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == 0, capsys.readouterr().out


@pytest.mark.parametrize("file", FILES, ids=map(name, FILES))
def test_no_file_is_longer_than_600_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 600


@pytest.mark.parametrize("file", FILES, ids=map(name, FILES))
def test_libraries_stay_in_their_rooms(file: Path) -> None:
    room = file.relative_to(SOURCE).parts[0]
    strangers = {each for each in imported(file) & set(HOME_OF) if room not in HOME_OF[each]}
    assert not strangers, f"{name(file)} imports {strangers}"


def test_only_declared_libraries_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    known = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("-", "_") for each in declared}
    known |= {name for name, project in PROVIDED.items() if project in known}
    used = set().union(*(imported(file) for file in FILES)) - set(sys.stdlib_module_names) - {"shortlist"}
    assert used <= known, f"not in pyproject.toml: {used - known}"


def test_nothing_that_is_loaded_is_executed() -> None:
    banned = {"pickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
    for file in FILES:
        assert not imported(file) & banned, name(file)
        calls = [
            node
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        ]
        assert not calls, f"{name(file)} allows pickle"
        evaluated = [
            node.func.id
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
        ]
        assert not evaluated, f"{name(file)} evaluates text"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{each.split('.')[0] for each in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"scipy", "polars", "torch", "starlette", "uvicorn", "typer", "rich", "msgspec", "pandas", "pyarrow"}


def test_importing_shortlist_loads_numpy_and_nothing_heavier() -> None:
    everything = "from shortlist import *"
    assert not loaded_by(everything) & HEAVY
    assert "numpy" in loaded_by(everything)


def test_the_command_line_starts_without_the_libraries_of_its_commands() -> None:
    assert not loaded_by("import shortlist.cli.app") & ((HEAVY | {"numpy"}) - {"typer"})


def test_there_is_no_drawer_for_everything() -> None:
    assert not [each for each in FILES if each.stem in ("utils", "util", "helpers", "common", "misc")]


def test_every_public_name_is_there() -> None:
    import shortlist

    assert all(hasattr(shortlist, each) for each in shortlist.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Recal'"):
        shortlist.Recal  # noqa: B018
