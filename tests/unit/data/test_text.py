"""Text files as people send them: twenty ugly ones, every encoding, true line numbers."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data import text
from shortlist.data.mapping import Mapping
from shortlist.data.records import Form
from shortlist.data.rows import Reject
from shortlist.errors import DataError, NotFound

PLAIN = [["u", "i"], ["1", "a"], ["2", "b"]]
UGLY: dict[str, tuple[bytes, list[list[str]], list[int]]] = {  # bytes, rows after the header u,i, their lines
    "plain": (b"u,i\n1,a\n2,b\n", PLAIN[1:], [2, 3]),
    "no last line end": (b"u,i\n1,a\n2,b", PLAIN[1:], [2, 3]),
    "CRLF": (b"u,i\r\n1,a\r\n2,b\r\n", PLAIN[1:], [2, 3]),
    "old Macintosh": (b"u,i\r1,a\r2,b\r", PLAIN[1:], [2, 3]),
    "UTF-8 mark": (b"\xef\xbb\xbfu,i\n1,a\n2,b\n", PLAIN[1:], [2, 3]),
    "UTF-16 with mark": ("u,i\n1,ä\n2,b\n".encode("utf-16"), [["1", "ä"], ["2", "b"]], [2, 3]),
    "UTF-16 without mark": ("u,i\n1,a\n2,b\n".encode("utf-16-le"), PLAIN[1:], [2, 3]),
    "Latin-1": ("u,i\n1,Amélie\n".encode("latin-1"), [["1", "Amélie"]], [2]),
    "Windows 1252": ("u,i\n1,€ ’\n".encode("cp1252"), [["1", "€ ’"]], [2]),
    "blank lines": (b"\nu,i\n\n1,a\n   \n2,b\n\n", PLAIN[1:], [4, 6]),
    "all quoted": (b'"u","i"\n"1","a"\n"2","b"\n', PLAIN[1:], [2, 3]),
    "some quoted": (b'u,i\n1,"a"\n"2",b\n', PLAIN[1:], [2, 3]),
    "separator in quotes": (b'u,i\n1,"a,b"\n2,b\n', [["1", "a,b"], ["2", "b"]], [2, 3]),
    "doubled quotes": (b'u,i\n1,"say ""hi"""\n2,b\n', [["1", 'say "hi"'], ["2", "b"]], [2, 3]),
    "line end in quotes": (b'u,i\n1,"a\nb"\n2,b\n', [["1", "a\nb"], ["2", "b"]], [2, 4]),
    "blank line in quotes": (b'u,i\n1,"a\n\nb"\n2,b\n', [["1", "a\n\nb"], ["2", "b"]], [2, 5]),
    "quote inside a field": (b'u,i\n1,5" disk\n2,b\n', [["1", '5" disk'], ["2", "b"]], [2, 3]),
    "leading zeros": (b"u,i\n01,007\n1,7\n1.0,7.0\n", [["01", "007"], ["1", "7"], ["1.0", "7.0"]], [2, 3, 4]),
    "spaces": (b"u, i\n 1 , a\n", [[" 1 ", " a"]], [2]),
    "empty fields": (b'u,i\n1,\n,b\n"",""\n', [["1", ""], ["", "b"], ["", ""]], [2, 3, 4]),
    "tabs": (b"u\ti\n1\ta,a\n", [["1", "a,a"]], [2]),
    "semicolons": (b"u;i\n1;3,5\n2;4,5\n", [["1", "3,5"], ["2", "4,5"]], [2, 3]),
    "double colons": (b"u::i\n1::a|b\n2::a:b\n", [["1", "a|b"], ["2", "a:b"]], [2, 3]),
    "emoji": ("u,i\n🙂,ça\n".encode(), [["🙂", "ça"]], [2]),
    "zero byte": (b"u,i\n1,a\x00b\n", [["1", "a\x00b"]], [2]),
}


def rows(path: Path, **mapping: Any) -> tuple[list[list[str]], list[int], list[Reject]]:
    form = text.recognise(path, Mapping(**{"user": "u", "item": "i", **mapping}))
    batches = list(text.read(path, form))
    cells = [list(row) for batch in batches for row in batch.frame.iter_rows()]
    assert all(len(batch.line) == len(batch.frame) == len(batch.text) for batch in batches if batch.text is not None)
    return cells, [n for b in batches for n in b.line.tolist()], [reject for b in batches for reject in b.bad]


@pytest.mark.parametrize("name", UGLY)
@pytest.mark.parametrize("packed", [False, True])
def test_ugly_files_are_read_as_they_are(name: str, packed: bool, tmp_path: Path) -> None:
    content, expected, lines = UGLY[name]
    path = tmp_path / "ugly.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert rows(path) == (expected, lines, [])


@pytest.mark.parametrize("name", UGLY)
def test_the_size_of_a_chunk_changes_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, expected, lines = UGLY[name]
    path = tmp_path / "ugly.csv"
    path.write_bytes(content)
    form = text.recognise(path, Mapping(user="u", item="i"))
    for size in (4, 7, 12):
        monkeypatch.setattr(text, "CHUNK", size)
        monkeypatch.setattr(text, "START", size)
        batches = list(text.read(path, form))
        assert [list(row) for batch in batches for row in batch.frame.iter_rows()] == expected
        assert [line for batch in batches for line in batch.line.tolist()] == lines


def test_lines_that_are_no_row_are_refused_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b'u,i\n1,a\n2,b,c\n3\n"4" x,d\n5,"e\n6,f\n7,\xff\n8,h\n')
    cells, lines, bad = rows(path, encoding="utf-8")
    assert cells == [["1", "a"], ["6", "f"], ["8", "h"]]
    assert lines == [2, 7, 9]
    assert {(each.line, each.reason, each.row) for each in bad} == {
        (3, "columns", "2,b,c"),
        (4, "columns", "3"),
        (5, "quotes", '"4" x,d'),
        (6, "quotes", '5,"e'),
        (8, "encoding", "7,\\xff"),
    }
    by_line = {each.line: each for each in bad}
    assert by_line[3].message == "3 fields, expected 2 (u, i)"
    assert by_line[3].remedy == "separate exactly 2 fields by ','"
    assert 'set quote = ""' in by_line[6].remedy


def test_a_stray_quotation_mark_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "stray.csv"
    path.write_text("u,i\n" + '0,"broken\n' + "".join(f"{n},x\n" for n in range(1, 1000)))
    cells, _, bad = rows(path)
    assert len(cells) == 999
    assert [each.line for each in bad] == [2]


def test_a_quoted_record_with_bytes_that_are_no_letters_is_not_mended(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_bytes(b'u,i\n1,"a\n\xff\nb"\n2,c\n')
    cells, lines, bad = rows(path, encoding="utf-8")
    assert (cells, lines) == ([["2", "c"]], [5])
    assert {each.line: each.reason for each in bad} == {2: "encoding", 3: "encoding", 4: "columns"}


def test_quotes_can_be_letters(tmp_path: Path) -> None:
    path = tmp_path / "letters.tsv"
    path.write_text('u\ti\n1\t"Bungaku" Memoire\n2\t"a\n')
    assert rows(path, quote="")[0] == [["1", '"Bungaku" Memoire'], ["2", '"a']]


@pytest.mark.parametrize(
    ("content", "encoding", "note"),
    [
        ("é".encode(), "utf-8", ""),
        ("é".encode("latin-1"), "latin-1", "not UTF-8: read as latin-1"),
        ("“é”".encode("cp1252"), "cp1252", "not UTF-8: read as cp1252"),
        ("é".encode("utf-8-sig"), "utf-8-sig", ""),
        ("é".encode("utf-16"), "utf-16", ""),
        ("abcd".encode("utf-16-be"), "utf-16-be", "read as utf-16-be"),
        (b"a" * 9000 + "é".encode("latin-1"), "latin-1", "not UTF-8"),
        (b"a" * 4095 + "é".encode(), "utf-8", ""),
    ],
)
def test_encodings_are_recognised_and_reported(content: bytes, encoding: str, note: str, tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_bytes(content)
    found, said = text.recognise_encoding(path)
    assert found == encoding
    assert said.startswith(note)
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ("userId,movieId,rating\n1,2,3\n", True),
        ("1,2,3\n4,5,6\n", False),
        ("ann,tea,good\nbob,rum,bad\n", False),
        ("who,what,stars\nbob,rum,5\nann,tea,4\n", True),
        ("uid\tsid\t3\n0\t7\tcart\n", True),
    ],
)
def test_a_header_is_recognised(lines: str, header: bool, tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    path.write_text(lines)
    assert text.recognise(path, Mapping()).header is header


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file") as missing:
        text.recognise(tmp_path / "nothing.csv", Mapping())
    assert missing.value.hint
    empty = tmp_path / "empty.csv"
    empty.write_text("\n\n")
    with pytest.raises(DataError, match="the file is empty"):
        text.recognise(empty, Mapping())
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"u,i\n" + bytes(range(256)) * 99)[:300])
    with pytest.raises(DataError, match="gzip file is damaged"):
        text.recognise(cut, Mapping(encoding="latin-1"))
    with pytest.raises(DataError, match="no encoding is called 'klingon'") as unknown:
        text.recognise(cut, Mapping(encoding="klingon"))
    assert '"utf-8"' in unknown.value.hint


def test_a_file_without_line_ends_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST", 100)
    monkeypatch.setattr(text, "CHUNK", 60)
    monkeypatch.setattr(text, "START", 64)
    path = tmp_path / "long"
    path.write_text("x" * 500)
    with pytest.raises(DataError, match="no line end in 100 characters"):
        text.recognise(path, Mapping())


LINES = ["u1,i1,3", "ü,é,5\r", "", " ", ",,", '"u","i",1', "u,i", "u,i,1,2", 'u,"i\n2",3', "a\r"]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(LINES)), st.sampled_from(["", "\n"]), st.sampled_from([3, 11, 64, 4096]))
def test_lines_that_are_cut_at_once_are_read_as_one_by_one(lines: list[str], end: str, size: int) -> None:
    """Whatever stands in a file, the quick way finds the rows, lines and refusals of the careful one."""
    form = Form("utf-8", ",", '"', False, ("u", "i", "v"))

    def found() -> tuple[list[tuple[str, ...]], list[int], list[tuple[int, str]], list[str]]:
        batches = list(text.read(path, form))
        return (
            [row for batch in batches for row in batch.frame.iter_rows()],
            [line for batch in batches for line in batch.line.tolist()],
            [(each.line, each.reason) for batch in batches for each in batch.bad],
            [row for batch in batches for row in batch.rows(np.arange(len(batch.line)))],
        )

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "file.csv"
        path.write_bytes(("u,i,4\n" * 3 + "\n".join(lines) + end).encode())
        patch.setattr(text, "CHUNK", size)
        patch.setattr(text, "START", size)
        quick = found()
        patch.setattr(text, "columns_of", lambda block, form: None)
        assert quick == found()
