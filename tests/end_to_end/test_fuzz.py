"""The contract against the server: 1,500 cases of a fixed seed; 10,000 by `python -m benchmarks.fuzz`."""

from __future__ import annotations

import warnings

import pytest

from shortlist.config import Settings

with warnings.catch_warnings():  # of libraries that only this test needs
    warnings.simplefilter("ignore")
    from benchmarks import fuzz

CASES, SEED = 1_500, 1


@pytest.mark.filterwarnings("ignore")
def test_cases_made_from_the_contract(installation: Settings) -> None:
    outcome = fuzz.run(installation, CASES, SEED)
    assert outcome.total == CASES
    assert min(outcome.cases[kind] for kind in fuzz.KINDS) >= CASES // 10
    assert not outcome.findings, "\n\n".join(outcome.findings)


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_breaks_its_contract_is_found_out(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three findings, planted."""
    from shortlist.serve import service, wire

    monkeypatch.setattr(service.Service, "info", lambda self: 1 / 0)
    monkeypatch.setattr(service.Service, "ready", lambda self: wire.Alive(True))
    monkeypatch.setattr(wire, "parameters", lambda given, kind: kind())
    found = "\n".join(fuzz.run(installation, 200, SEED).findings)
    assert "Server error" in found
    assert "/readyz" in found
    assert "should have been rejected" in found
