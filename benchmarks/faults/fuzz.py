"""Fuzzing of every parser: bytes in, a value or an error of ours out, within a second and 500 MB.

`python -m benchmarks.faults.fuzz csv --seconds 600` runs one parser under atheris (coverage-guided) and keeps what it
learns beside the corpus; without atheris, and in the tests, the corpus is mutated by a seeded generator.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.faults.processes import ROOT
from shortlist import config, packed
from shortlist.data import sources
from shortlist.data.guess import guess
from shortlist.data.mapping import Mapping as ColumnMapping
from shortlist.errors import ShortlistError
from shortlist.filters import expression
from shortlist.serve import wire
from shortlist.serve.cursors import Cursors
from shortlist.serve.problems import Refusal

CORPUS = ROOT / "tests" / "faults" / "corpus"
LONGEST, HANG, MEMORY = 1.0, 30, 500  # seconds of work, seconds on the clock (others may be busy here), MB
MEMORY_DISK = Path("/dev/shm")


@cache
def _folder() -> Path:
    home = str(MEMORY_DISK) if MEMORY_DISK.is_dir() else None
    return Path(tempfile.mkdtemp(prefix="shortlist-fuzz-", dir=home))


def _file(data: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _table(data: bytes, name: str) -> None:
    """Read all of a source of events, once as a mapping says and once guessed."""
    path, lines = _file(data, name), sum(map(data.count, (b"\n", b"\r"))) + 1
    for mapping in (ColumnMapping(time="time"), None):
        with suppress(ShortlistError):
            found = sources.open_source(path, mapping or guess([str(path)], None)[0].mapping)
            with closing(found):
                rows = sum(len(batch.line) + len(batch.bad) for batch in found.batches)
            assert rows <= lines or name.endswith(".parquet"), f"{rows} rows in {lines} lines"


def csv(data: bytes) -> None:
    _table(data, "fuzz.csv")


def jsonl(data: bytes) -> None:
    _table(data, "fuzz.jsonl")


def parquet(data: bytes) -> None:
    _table(data, "fuzz.parquet")


def configuration(data: bytes) -> None:
    with suppress(ShortlistError):
        config.load(_file(data, "fuzz.toml"), {})


def cursor(data: bytes) -> None:
    cursors = Cursors(b"key")
    try:
        cursors.read("listing", data.decode("latin-1"))
    except Refusal:
        return
    raise AssertionError("a cursor was forged")


def condition(data: bytes) -> None:
    with suppress(ShortlistError):
        expression.parse(data.decode("utf-8", "replace"))


def events(data: bytes) -> None:
    try:
        found = wire.decode(data, wire.EventsRequest)
    except Refusal:
        return
    again = wire.decode(msgspec.json.encode(found), wire.EventsRequest)
    assert again == found


def manifest(data: bytes) -> None:
    folder = _folder() / "release"
    folder.mkdir(exist_ok=True)
    (folder / packed.MANIFEST).write_bytes(data)
    with suppress(ShortlistError):
        packed.unpack(folder, {})


PARSERS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (csv, jsonl, parquet, configuration, cursor, condition, events, manifest)
}


def seeds(parser: str) -> list[bytes]:
    """The corpus of one parser: examples, and whatever was once found."""
    return [path.read_bytes() for folder in folders_of(parser) for path in sorted(folder.iterdir())]


def folders_of(parser: str) -> list[Path]:
    return [CORPUS / parser, *([CORPUS.parent / "ugly"] if parser == "csv" else [])]


def mutations(corpus: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """The corpus, then changed, cut, doubled and crossed for ever."""
    tokens = [token for each in corpus for token in each.replace(b"\n", b",").split(b",") if token][:2000] or [b"x"]
    odd = (b"\0", b"\xff", b'"', b"\n", b"\r", b"[", b"{", b"(", b"-", b"9" * 400, b"1e999", b"NaN", b"\xef\xbb\xbf")
    yield from corpus
    while True:
        data = bytearray(chance.choice(corpus)[:50_000])
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at, upto = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
            match chance.randrange(6):
                case 0 if data:
                    data[at % len(data)] = chance.randrange(256)
                case 1:
                    del data[at : min(upto, at + 40)]
                case 2:
                    data[at:at] = chance.choice(odd)
                case 3:
                    data[at:at] = chance.choice(tokens)
                case 4:
                    data[at:at] = data[at : min(upto, at + 200)] * chance.choice((1, 2, 20))
                case _:
                    data[at:] = chance.choice(corpus)[at : at + 5_000]
        yield bytes(data)


def timed(parser: str, data: bytes) -> None:
    """One case; AssertionError when it takes too long."""
    begun = time.process_time()
    PARSERS[parser](data)
    seconds = time.process_time() - begun
    assert seconds < LONGEST, f"took {seconds:.1f} s"


def quick(parser: str, cases: int, seed: int) -> list[str]:
    """`cases` seeded cases; what is wrong, with the bytes that show it."""
    wrong: list[str] = []
    made = mutations(seeds(parser), random.Random(f"{parser} {seed}"))
    for data, _ in zip(made, range(cases), strict=False):
        try:
            timed(parser, data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of polars is no Exception
            wrong.append(f"{type(error).__name__}: {error} from {data[:300]!r}")
    return wrong


def guided(parser: str, seconds: float, seed: int) -> dict[str, Any]:
    """One parser under atheris in a process of its own: cases, what it found, the most memory."""
    with tempfile.TemporaryDirectory(prefix="shortlist-fuzz-") as found:
        command = [sys.executable, "-m", "benchmarks.faults.fuzz", parser, "--seconds", str(int(seconds))]
        done = subprocess.run(
            [*command, "--seed", str(seed), "--found", found], cwd=ROOT, capture_output=True, text=True, check=False
        )
        crashes = [path.read_bytes() for path in sorted(Path(found).glob("*-*")) if path.is_file()]
        stats = dict(
            line.removeprefix("stat::").split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::")
        )
        wrong = [f"{parser}: {data[:300]!r}" for data in crashes]
        if done.returncode and not wrong:
            wrong = [f"{parser}: ended with {done.returncode}: {done.stderr[-500:]}"]
    return {
        "engine": "atheris",
        "cases": int(stats.get("number_of_executed_units", 0)),
        "peak_mb": int(stats.get("peak_rss_mb", 0)),
        "wrong": wrong,
    }


def all_of(seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every parser for `seconds`."""
    found: dict[str, Any] = {}
    for parser in PARSERS:
        found[parser] = guided(parser, seconds, seed)
        say(f"{parser}: {found[parser]['cases']:,} cases, {len(found[parser]['wrong'])} wrong")
    return {
        "seconds_each": seconds,
        "cases": sum(each["cases"] for each in found.values()),
        "parsers": found,
        "wrong": [each for one in found.values() for each in one["wrong"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.fuzz", description=__doc__)
    parser.add_argument("parser", choices=sorted(PARSERS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, default=Path())
    given = parser.parse_args()
    import atheris

    with tempfile.TemporaryDirectory() as learned:
        folders = [
            learned,
            str(CORPUS / given.parser),
            *([str(CORPUS.parent / "ugly")] if given.parser == "csv" else []),
        ]
        options = [
            f"-max_total_time={given.seconds}",
            f"-seed={given.seed}",
            f"-timeout={HANG}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={given.found}/",
            "-max_len=20000",
            "-print_final_stats=1",
        ]
        for name in ("shortlist.data", "shortlist.config", "shortlist.filters.expression", "shortlist.packed"):
            for module in [each for each in sys.modules if each.startswith(name)]:
                _instrument(atheris, sys.modules[module])
        atheris.Setup([sys.argv[0], *options, *folders], lambda data: timed(given.parser, data))
        atheris.Fuzz()


def _instrument(atheris: Any, module: Any) -> None:
    """Count the branches of a module that is loaded already."""
    for name, each in vars(module).items():
        if callable(each) and getattr(each, "__module__", "") == module.__name__ and hasattr(each, "__code__"):
            setattr(module, name, atheris.instrument_func(each))


if __name__ == "__main__":
    main()
