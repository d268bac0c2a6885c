"""Tables in every dialect that spreadsheets and people write; a fault is named with its row."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from model.tables import MAX_CELL, TableError, csv_rows, json_rows, read_text

ROWS = [(2, {"audio": "a.wav", "caption": "a dog, barking"}), (3, {"audio": "b.wav", "caption": "Über Café"})]


@pytest.mark.parametrize(
    "data",
    [
        'audio,caption\na.wav,"a dog, barking"\nb.wav,Über Café\n'.encode(),
        'audio,caption\na.wav,"a dog, barking"\nb.wav,Über Café\n'.encode("utf-8-sig"),
        'audio,caption\na.wav,"a dog, barking"\nb.wav,Über Café\n'.encode("utf-16"),
        'audio,caption\r\na.wav,"a dog, barking"\r\nb.wav,Über Café\r\n\r\n'.encode(),
        'audio,caption\ra.wav,"a dog, barking"\rb.wav,Über Café'.encode(),
        b"audio;caption\na.wav;a dog, barking\nb.wav;\xdcber Caf\xe9\n",
        "audio\tcaption\na.wav\ta dog, barking\nb.wav\tÜber Café\n".encode(),
        'audio, caption\na.wav, "a dog, barking"\nb.wav, Über Café\n'.encode(),
        '"audio";"caption";\n"a.wav";"a dog, barking";\n"b.wav";"Über Café";\n;;\n'.encode(),
    ],
    ids=["commas", "bom", "utf-16", "crlf", "cr", "semicolons, latin-1", "tabs", "spaces", "empty column"],
)
def test_one_table_is_read_in_every_dialect(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    assert list(csv_rows(tmp_path / "m.csv", ("audio", "caption"))) == ROWS


def test_excel_s_line_above_the_header_names_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sep=|\naudio|caption\na.wav|rain\n")
    assert list(csv_rows(tmp_path / "m.csv", ("audio",))) == [(3, {"audio": "a.wav", "caption": "rain"})]


def test_a_text_may_be_long_and_run_over_lines(tmp_path: Path) -> None:
    long = "rain " * 60_000
    (tmp_path / "m.csv").write_text(f'audio,caption\na.wav,"two\nlines"\nb.wav,{long}\n')
    rows = list(csv_rows(tmp_path / "m.csv", ("audio",)))
    assert rows == [(2, {"audio": "a.wav", "caption": "two\nlines"}), (4, {"audio": "b.wav", "caption": long})]


def test_characters_that_end_a_line_elsewhere_do_not_end_a_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("audio,caption\na.wav,rain\u2028hail\x85wind\n", encoding="utf-8")
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "caption": "rain\u2028hail\x85wind"}\n', encoding="utf-8")
    assert [row["caption"] for _, row in csv_rows(tmp_path / "m.csv", ("audio",))] == ["rain\u2028hail\x85wind"]
    assert [row["caption"] for _, row in json_rows(tmp_path / "m.jsonl")] == ["rain\u2028hail\x85wind"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"audio,caption\na.wav,rain\nb.wav,a dog, barking\n",
            r"m\.csv:3: 3 cells, the header has 2.*must be in quotes",
        ),
        (b"audio;caption\na.wav;rain; hail\n", r"m\.csv:2: 3 cells, .* contains ; must be in quotes"),
        (b"audio\tcaption\na.wav\train\thail\n", r"m\.csv:2: 3 cells, .* contains tab must be in quotes"),
        (b'audio,caption\na.wav,rain\nb.wav,"a dog\nc.wav,wind\n', r"m\.csv:3: a quote is not closed"),
        (b'audio,caption\na.wav,"rain" hail\n', r"m\.csv:2: ',' expected after '\"'"),
        (b"file,caption\na.wav,rain\n", r"no column `audio` among file, caption"),
        (b"audio,caption,caption\na.wav,rain,hail\n", r"the column `caption` is there twice"),
        (b"audio,caption\na.wav,rain\nb.wav,\x81\x8d\n", r"m\.csv:3: not UTF-8 text \(byte 0x81\)"),
        ("audio,caption\na.wav,rain\n".encode("utf-16-le"), r"m\.csv:1: a NUL character; the file is not UTF-8"),
        (b"\xff\xfe\x00", r"begins with the mark of UTF-16 but is not UTF-16"),
        (b"audio,caption\na.wav," + b"x" * (MAX_CELL + 1), r"m\.csv:2: field larger than field limit"),
    ],
)
def test_a_fault_is_named_with_its_row(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(TableError, match=message):
        list(csv_rows(tmp_path / "m.csv", ("audio",)))


@pytest.mark.parametrize("line", ['{"a": ' + "1" * 5_000 + "}", "[" * 100_000])
def test_json_that_cannot_be_held_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text("\n" + line)
    with pytest.raises(TableError, match=r"m\.jsonl:2: not JSON"):
        list(json_rows(tmp_path / "m.jsonl"))


def test_a_guess_of_the_coding_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "m.csv").write_bytes(b"audio\na\n\xe9.wav\n")
    with caplog.at_level(logging.WARNING):
        assert read_text(tmp_path / "m.csv").endswith("é.wav\n")
    assert "m.csv:3: not UTF-8 (byte 0xe9); read as Windows-1252" in caplog.text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv cannot be read: No such file"):
        read_text(tmp_path / "none.csv")
