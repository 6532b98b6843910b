"""Documents must be true: recipes stay short, links lead somewhere, decisions are listed, code blocks run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def blocks(language: str) -> list[tuple[str, str]]:
    """(page and place, code) of every block of that language."""
    found = []
    for page in PAGES:
        for place, code in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)):
            found.append((f"{name(page)}#{place + 1}", code))
    return found


@pytest.mark.parametrize("title", ["Add a source", "Add a model", "Add a store"])
def test_a_recipe_has_fewer_than_15_lines(title: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert match, f"CONTRIBUTING.md does not say how to {title.lower()}"
    assert len([line for line in match[1].splitlines() if line.strip()]) < 15


@pytest.mark.parametrize("page", PAGES, ids=map(name, PAGES))
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}"
    for target in re.findall(r"`((?:src|docs|scripts|tests|benchmarks)/[\w./-]+\.\w+|scripts/\w+)`", text):
        assert (ROOT / target).exists() or "mine" in target, f"{name(page)} names {target}"


def test_every_decision_is_listed_and_has_its_three_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    for page in sorted(folder.glob("[0-9]*.md")):
        assert f"({page.name})" in index, page.name
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in page.read_text("utf-8"), f"{page.name} has no {part}"


def test_the_readme_fits_on_a_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 100


@pytest.mark.parametrize(("place", "code"), blocks("python"), ids=[place for place, _ in blocks("python")])
def test_python_blocks_run(place: str, code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{place}: {done.stderr}"


@pytest.mark.parametrize(("place", "code"), blocks("toml"), ids=[place for place, _ in blocks("toml")])
def test_toml_blocks_are_configurations(place: str, code: str) -> None:
    import tomllib

    from shortlist import config

    config.parse(tomllib.loads(code))


@pytest.mark.parametrize("page", ["cli.md", "config.md", "components.md"])
def test_the_reference_is_that_of_the_code(page: str) -> None:
    path = ROOT / "scripts" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec
    assert spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    written = (ROOT / "docs" / "reference" / page).read_text("utf-8")
    assert written == reference.PAGES[page](), "write it anew with: python scripts/reference.py"


def test_figures_are_those_that_were_measured() -> None:
    from benchmarks import tables

    rows = tables.results()
    for page in PAGES:
        text = page.read_text("utf-8")
        assert text == tables.filled(text, rows), f"{name(page)}: write it anew with: python -m benchmarks.tables"


def test_commands_in_documents_exist() -> None:
    """Every `shortlist WORD` in a shell block, and every script, is one that can be run."""
    from shortlist.cli.app import command

    for place, code in blocks("sh"):
        for word in re.findall(r"\bshortlist ([a-z]+)", code):
            assert word in command().commands, f"{place}: shortlist {word}"
        for script in re.findall(r"^(scripts/\w+)", code, re.M):
            assert (ROOT / script).exists(), f"{place}: {script}"
