"""The figures in README and docs, written from benchmarks/results: `python -m benchmarks.tables`.

Between `<!-- figures:NAME -->` and `<!-- end -->` stands the table of that name, made from whatever results exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT

RESULTS = Path(__file__).parent / "results"
Found = Mapping[str, Any]


def results(folder: Path = RESULTS) -> list[Found]:
    """Every row with what its file says about the run."""
    found = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text("utf-8"))
        if "rows" in content:
            about = {name: content[name] for name in ("benchmark", "commit", "machine", "date")}
            found += [{**row, **about} for row in content["rows"] if row["value"] is not None]
    return found


def quality(rows: Iterable[Found]) -> str:
    """NDCG@10 of each algorithm beside the best peer of the same name, and our measures of longer lists."""
    lines = []
    groups: dict[tuple[str, str, str], list[Found]] = {}
    longer: dict[tuple[str, str, str, str], str] = {}
    for row in rows:
        if row["benchmark"] != "quality" or row["note"].startswith("refitted"):
            continue
        if row["metric"] == "ndcg@10":
            groups.setdefault((row["set"], row["split"], row["model"]), []).append(row)
        if row["side"] == "shortlist":
            longer[row["set"], row["split"], row["model"], row["metric"]] = f"{row['value']:.4f}"
    for key, each in sorted(groups.items()):
        ours = [row for row in each if row["side"] == "shortlist"]
        peers = [row for row in each if row["side"].startswith("peer:")]
        if not ours:
            continue
        best = max(peers, key=lambda row: row["value"], default=None)
        beside = f"{figure(best)} ({best['side'].removeprefix('peer:')})" if best else "–"
        newest = max(ours, key=lambda row: row["date"])
        seconds = f"{newest['seconds']:.1f}" if newest["seconds"] else "–"
        more = (longer.get((*key, metric), "–") for metric in ("recall@20", "ndcg@20"))
        lines.append((*key, figure(newest), beside, *more, seconds))
    return table(
        ("set", "split", "algorithm", "Shortlist, NDCG@10", "best peer", "Recall@20", "NDCG@20", "fit, s"), lines
    )


def published(rows: Iterable[Found]) -> str:
    """What papers report, beside the best single model of ours by the same measure."""
    own = [row for row in rows if row["benchmark"] == "quality" and row["model"] != "fused"]
    found: dict[tuple[str, str, str], dict[str, Found]] = {}
    for row in own:
        side = row["side"].partition(":")[0]
        if side in ("shortlist", "published"):
            best = found.setdefault((row["set"], row["split"], row["metric"]), {})
            if side not in best or row["value"] > best[side]["value"]:
                best[side] = row
    lines = [
        (*key, f"{best['published']['value']:.4f} ({best['published']['model']}: {_source(best)})", _ours(best))
        for key, best in sorted(found.items())
        if "published" in best and "shortlist" in best
    ]
    return table(("set", "split", "measure", "best that is published", "best single model of ours"), lines)


def _source(best: Mapping[str, Found]) -> str:
    return str(best["published"]["side"]).removeprefix("published:")


def _ours(best: Mapping[str, Found]) -> str:
    return f"{figure(best['shortlist'])} ({best['shortlist']['model']})"


def kernels(rows: Iterable[Found]) -> str:
    """Seconds of the peer over ours, larger is better for us; what nobody else has, by our seconds alone."""
    own = [row for row in rows if row["benchmark"] == "kernels"]
    quality = {(*_race(row), row["side"]): f"{row['value']:.4f}" for row in own if row["metric"] == "ndcg@10"}
    raced = {_race(row) for row in own if row["metric"].endswith("ratio")}
    lines = []
    for race, work in dict.fromkeys((_race(row), work) for row in own for work in ("fit", "top-100")):
        label = (race[0], ", ".join(each for each in race[1:] if each), work)
        ours = quality.get((*race, "shortlist"), "–")
        for row in own:
            if (_race(row), _work(row)) != (race, work):
                continue
            if row["metric"].endswith("ratio"):
                seconds = (f"{row['seconds'] / row['value']:.2f} s", f"{row['seconds']:.2f} s", f"{row['value']:.2f}")
                theirs = quality.get((*race, row["side"]), "–")
                lines.append((*label, row["side"].removeprefix("peer:"), *seconds, f"{ours}, {theirs}"))
            elif row["metric"].endswith("seconds") and race not in raced:
                lines.append((*label, "–", f"{row['value']:.2f} s", "–", "–", ours))
    header = ("set", "model", "work", "peer", "our seconds", "peer's seconds", "peer's / ours", "NDCG@10, ours and its")
    return table(header, lines)


def _race(row: Found) -> tuple[str, str, str]:
    """The set, the model and what is said of it."""
    about = row["note"].split(";")[0]
    return row["set"], row["model"], "" if about.startswith("best of") else about


def _work(row: Found) -> str:
    return "top-100" if "top-100" in (row["model"], row["metric"].rpartition("-")[0]) else "fit"


def starts(rows: Iterable[Found]) -> str:
    """Seconds of the demo, milliseconds of a start and of an answer."""
    wanted = {
        ("demo", "seconds"): "demo, start to first lists",
        ("recommend", "p50_ms"): "one recommendation, median",
        ("shortlist --help", "ms"): "`shortlist --help`",
        ("import shortlist", "ms"): "`import shortlist`",
    }
    lines = [
        (wanted[row["model"], row["metric"]], row["set"], f"{row['value']:,.1f} {row['metric'].removeprefix('p50_')}")
        for row in rows
        if (row["model"], row["metric"]) in wanted
    ]
    return table(("what", "on", "took"), lines)


def whynot(rows: Iterable[Found]) -> str:
    """Explanations whose every claim held when it was tried, of all."""
    own = [row for row in rows if row["benchmark"] == "whynot"]
    cases = {row["model"]: row["value"] for row in own if row["metric"] in ("cases", "shown")}
    lines = [
        (row["model"], row["metric"], f"{row['value']:,.0f} of {cases[row['model']]:,.0f}", row["note"])
        for row in own
        if row["metric"] not in ("cases", "shown")
    ]
    return table(("draw", "what", "how many", "reasons that were named"), lines)


def serving(rows: Iterable[Found]) -> str:
    """Latency and throughput over HTTP, ours and of other services."""
    lines = [
        (row["set"], row["side"].removeprefix("peer:"), row["metric"], f"{row['value']:,.1f}", row["note"])
        for row in rows
        if row["benchmark"] == "serving"
    ]
    return table(("set", "service", "figure", "value", "how"), lines)


def ann(rows: Iterable[Found]) -> str:
    """Milliseconds at equal recall, what a build took and what it holds."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        if row["benchmark"] == "ann" and (row["metric"].startswith("ms@") or row["metric"] in ("seconds", "mb")):
            asked = row["note"] if row["metric"].startswith("ms@") else ""
            key = asked or "everything", row["model"], row["side"].removeprefix("peer:")
            found.setdefault(key, {})[row["metric"]] = row["value"]
    columns = {"ms@0.95": ".3f", "ms@0.99": ".3f", "seconds": ".0f", "mb": ",.0f"}
    lines = [
        (*key, *(f"{values[name]:{form}}" if name in values else "–" for name, form in columns.items()))
        for key, values in found.items()
    ]
    header = ("searched", "kind", "library", "ms at recall 0.95", "at 0.99", "build, s", "MB")
    return table(header, lines)


def item2vec(rows: Iterable[Found]) -> str:
    """Seconds and quality of the same walks."""
    own = [row for row in rows if row["benchmark"] == "item2vec"]
    ratio = {row["side"]: f"{row['value']:.2f}" for row in own if row["metric"] == "ratio"}
    lines = [
        (
            row["side"].removeprefix("peer:"),
            figure(row),
            f"{row['seconds']:.2f} s",
            ratio.get(row["side"], "1"),
        )
        for row in own
        if row["metric"] == "ndcg@10"
    ]
    return table(("library", "NDCG@10", "seconds", "seconds / ours"), lines)


def cold(rows: Iterable[Found]) -> str:
    """New people and new items, with the paired difference to what must be beaten."""
    own = [row for row in rows if row["benchmark"] == "cold"]
    minus = {
        (row["set"], row["split"], row["model"]): f"{row['metric'].partition('-minus-')[2]}: {row['value']:+.4f}"
        f" ({row['low']:+.4f} to {row['high']:+.4f})"
        for row in own
        if "-minus-" in row["metric"]
    }
    lines = [
        (row["set"], row["split"], row["model"], figure(row), minus.get((row["set"], row["split"], row["model"]), "–"))
        for row in own
        if row["metric"] == "ndcg@10"
    ]
    return table(("set", "who or what is new", "algorithm", "NDCG@10", "minus"), lines)


def blueprints(rows: Iterable[Found]) -> str:
    """What each command took and held, and what the lists found of what was taken out of the files."""
    steps = ("ingest", "train", "evaluate", "publish", "serve", "predict")
    costs: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["benchmark"] == "blueprints" and (row["metric"] == "seconds" or row["split"] == "withheld"):
            name, _, what = row["model"].partition(" ")
            cost = figure(row)
            if row["peak_mb"]:
                cost = f"{row['value']:.1f} s ({row['params']['cpu_seconds']:.1f} s), {row['peak_mb']:,.0f} MB"
            key = f"{what}-minus-popular" if "-minus-" in row["metric"] else what
            costs.setdefault((row["set"], name), {})[key] = cost
    columns = (*steps, "home", "popular", "home-minus-popular")
    lines = [(*key, *(each.get(column, "–") for column in columns)) for key, each in costs.items()]
    named = (*steps[:-1], "all in one command")
    return table(("set", "blueprint", *named, "NDCG@10 of home", "of popularity", "difference"), lines)


def clicks(rows: Iterable[Found]) -> str:
    """What the probabilities of each pipeline of the blueprint ads are worth on the last day, beside the truth's."""
    measures = ("auc", "gauc", "log-loss", "calibration-error")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["benchmark"] == "blueprints" and row["split"] == "last-day":
            found.setdefault((row["set"], row["model"].partition(" ")[2]), {})[row["metric"]] = figure(row)
    lines = [(*key, *(each.get(measure, "–") for measure in measures)) for key, each in found.items()]
    return table(("set", "pipeline", "AUC", "gAUC", "log-loss", "calibration error"), lines)


def ctr(rows: Iterable[Found]) -> str:
    """Probabilities of each ranker beside the same network of a library, and what is missing to the planted truth."""
    found: dict[tuple[str, str], dict[tuple[str, str], Found]] = {}
    for row in rows:
        if row["benchmark"] == "quality" and row["split"] == "ctr":
            found.setdefault((row["set"], row["model"]), {})[row["side"], row["metric"]] = row
    lines = []
    for key, each in found.items():
        peer = next((side for side, _ in each if side.startswith("peer:")), "")
        wanted = [(side, measure) for measure in ("auc", "log-loss") for side in ("shortlist", peer)]
        wanted += [("shortlist", f"auc-minus-{side}") for side in (peer, "truth")]
        lines.append((*key, *(figure(each[one]) if one in each else "–" for one in wanted)))
    names = ("AUC", "AUC of DeepCTR-Torch", "log-loss", "log-loss of DeepCTR-Torch", "AUC: minus it", "minus the truth")
    return table(("set", "model", *names), lines)


def ranking(rows: Iterable[Found]) -> str:
    """Milliseconds of one request of 500 candidates; of a page, recall to top ten."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["benchmark"] == "ranking":
            slot = row["side"] if row["side"].startswith("peer:") else row["metric"].removesuffix("-p50-ms")
            if row["metric"].endswith("p50-ms"):
                found.setdefault(row["model"], {})[slot] = f"{row['value']:.2f}"
    columns = ("features-and-scores", "scores", "peer:onnxruntime", "peer:torch", "peer:lightgbm")
    columns += ("page", "page-with-a-coarse-ranker")
    lines = [(model, *(each.get(column, "–") for column in columns)) for model, each in found.items()]
    names = ("features and scores", "scores", "onnxruntime", "PyTorch", "LightGBM", "a page", "after a coarse ranker")
    return table(("model", *names), lines)


def promises(rows: Iterable[Found]) -> str:
    """Which promises every list of a scenario kept, and how many lists kept the others."""
    asked: dict[tuple[str, str], list[Found]] = {}
    for row in rows:
        if row["benchmark"] == "blueprints" and "asked" in row["params"]:
            asked.setdefault((row["set"], row["model"]), []).append(row)
    lines = []
    for (set_name, model), each in asked.items():
        kept = [row["metric"] for row in each if row["value"] == row["params"]["asked"]]
        some = [f"{row['metric']} {row['value']:,.0f} of {row['params']['asked']:,}" for row in each]
        rest = [text for row, text in zip(each, some, strict=True) if row["metric"] not in kept]
        lines.append((set_name, *model.split(), f"{each[0]['params']['asked']:,}", ", ".join(kept), ", ".join(rest)))
    return table(("set", "blueprint", "scenario", "lists", "all of them", "the others"), lines)


def ratings(rows: Iterable[Found]) -> str:
    """Errors of predicted ratings, of several folds their mean."""
    found: dict[tuple[str, str, str], dict[tuple[str, str], Found]] = {}
    for row in rows:
        if row["metric"] in ("rmse", "mae") and row["benchmark"] == "quality":
            side = row["side"].removeprefix("peer:")
            found.setdefault((row["set"], row["model"], side), {})[row["split"], row["metric"]] = row
    lines = []
    for key, each in found.items():
        whole = "folds" if ("folds", "rmse") in each else next(iter(each))[0]
        seconds = f"{each[whole, 'rmse']['seconds']:.1f}" if each[whole, "rmse"]["seconds"] else "–"
        first = figure(each["u1", "rmse"]) if ("u1", "rmse") in each else "–"
        lines.append((*key, whole, figure(each[whole, "rmse"]), first, f"{each[whole, 'mae']['value']:.4f}", seconds))
    return table(("set", "model", "library", "split", "RMSE", "RMSE of u1", "MAE", "fit, s"), lines)


TABLES: Mapping[str, Callable[[Iterable[Found]], str]] = {
    "ann": ann,
    "blueprints": blueprints,
    "clicks": clicks,
    "cold": cold,
    "ctr": ctr,
    "item2vec": item2vec,
    "promises": promises,
    "published": published,
    "ranking": ranking,
    "ratings": ratings,
    "quality": quality,
    "kernels": kernels,
    "starts": starts,
    "whynot": whynot,
    "serving": serving,
}


def figure(row: Found) -> str:
    interval = f" ({row['low']:.3f}–{row['high']:.3f})" if row["low"] is not None else ""
    return f"{row['value']:.4f}{interval}"


def table(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    body = list(lines)
    if not body:
        return "Not measured yet."
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *body))


def filled(text: str, rows: list[Found]) -> str:
    """`text` with every marked table made anew."""

    def made(match: re.Match[str]) -> str:
        return f"<!-- figures:{match[1]} -->\n{TABLES[match[1]](rows)}\n<!-- end -->"

    return re.sub(r"<!-- figures:(\w+) -->\n.*?<!-- end -->", made, text, flags=re.S)


def main() -> None:
    rows = results()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text("utf-8")
        page.write_text(filled(text, rows), "utf-8")
    print(f"{len(rows)} figures")


if __name__ == "__main__":
    main()
