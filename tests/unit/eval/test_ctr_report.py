"""Lines, plain data and pages of predicted probabilities."""

import json

import numpy as np

from shortlist.eval import ctr, ctr_report


def test_what_was_said_and_what_came_is_told_three_ways() -> None:
    chance = np.random.default_rng(0)
    said = {"a <b>": chance.random(2000), "half": np.full(2000, 0.5)}
    label = (chance.random(2000) < said["a <b>"]).astype(np.float32)
    found = ctr.measured(said, label, np.arange(2000) % 40, resamples=20)
    reliable = {name: ctr.reliability(each, label) for name, each in said.items()}
    header, *lines = ctr_report.lines(list(said), found)
    assert header == ["pipeline", *ctr.MEASURES]
    assert lines[0][0] == "a <b>"
    assert "0.5000" in lines[1][1]
    plain = json.loads(json.dumps(ctr_report.as_json(list(said), found, reliable), allow_nan=False))
    assert plain["a <b>"]["auc"]["value"] == found["a <b>", "auc"].value
    points = plain["a <b>"]["reliability"]
    assert (len(points), sum(point["rows"] for point in points)) == (ctr.BINS, 2000)
    page = ctr_report.html("Probabilities", "of 2,000 rows", list(said), found, reliable)
    assert page.count("<svg") == 2
    assert "a &lt;b&gt;" in page
    assert "<b>" not in page.replace("<body>", "")
    assert page.count("<circle") == 2 * ctr.BINS


def test_without_both_labels_there_is_no_number() -> None:
    said, label = {"one": np.full(10, 0.1)}, np.zeros(10, np.float32)
    found = ctr.measured(said, label, np.arange(10), resamples=5)
    plain = ctr_report.as_json(["one"], found, {"one": ctr.reliability(said["one"], label)})
    assert plain["one"]["auc"]["value"] is None
    json.dumps(plain, allow_nan=False)
