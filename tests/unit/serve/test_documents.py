"""One table of endpoints: OpenAPI, the reference page and the static pages must say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from shortlist.serve.openapi import document
from shortlist.serve.problems import CODES
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.wire import decode

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "http.md").read_text("utf-8")
STATIC = {each.name: each.read_text("utf-8") for each in (files("shortlist.serve") / "static").iterdir()}
CONTRACT: dict[str, Any] = json.loads(json.dumps(document(ENDPOINTS)))


def test_openapi_has_every_endpoint() -> None:
    told = {(method.upper(), path) for path, methods in CONTRACT["paths"].items() for method in methods}
    assert told == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert CONTRACT["openapi"] == "3.1.0"


def test_openapi_is_valid_and_says_what_everything_is() -> None:
    validate(CONTRACT)
    for path, methods in CONTRACT["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            for parameter in operation["parameters"]:
                assert parameter["schema"], (method, path, parameter["name"])
            body = operation.get("requestBody")
            if body:
                media = body["content"]["application/json"]
                whole = {**media["schema"], "components": CONTRACT["components"]}
                Draft202012Validator(whole).validate(media["example"])


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        for each in tree.values():
            yield from references(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from references(each)


def test_openapi_refers_to_nothing_that_it_lacks() -> None:
    found = set(references(CONTRACT))
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in CONTRACT["components"]["schemas"]}


def test_operation_ids_are_unique_and_paths_name_their_parameters() -> None:
    operations = [(path, each) for path, methods in CONTRACT["paths"].items() for each in methods.values()]
    assert len({each["operationId"] for _, each in operations}) == len(operations)
    for path, operation in operations:
        named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if each.body], ids=lambda each: f"{each.method} {each.path}"
)
def test_every_body_has_an_example_that_is_allowed(endpoint: Any) -> None:
    assert decode(json.dumps(endpoint.example).encode(), endpoint.body)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_every_endpoint_is_on_the_reference_page(endpoint: Any) -> None:
    assert f"`{endpoint.method} {endpoint.path}`" in PAGE


def test_the_reference_page_names_nothing_that_does_not_exist() -> None:
    named = set(re.findall(r"`((?:GET|PUT|POST|PATCH|DELETE) /[^`]*)`", PAGE))
    assert named == {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}


def test_every_code_is_on_the_reference_page_with_its_status() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", PAGE, re.M))
    assert told == {name: str(code.status) for name, code in CODES.items()}


def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline() -> None:
    for name, text in STATIC.items():
        assert not re.search(r"https?://|//cdn|@import", text), name
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:", text), name
        assert "innerHTML" not in text, name
        assert "insertAdjacentHTML" not in text, name


def test_every_static_file_is_served() -> None:
    html = "".join(text for name, text in STATIC.items() if name.endswith(".html"))
    served = {endpoint.path for endpoint in ENDPOINTS}
    assert set(re.findall(r'(?:src|href)="(/static/[^"]+)"', html)) == {each for each in served if "/static/" in each}
