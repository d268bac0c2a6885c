"""Manifests: what they may hold, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.recordings import write_manifest
from training.data.manifest import Captioned, ManifestError, check_distinct, check_present, read_manifest


def test_json_lines_hold_one_caption_or_several(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "a.wav", "caption": " a  dog\n barks"},
        {"audio": "b.wav", "captions": ["rain", "rain", "it rains"]},
    ]
    clips = read_manifest(write_manifest(tmp_path / "m.jsonl", rows))
    assert clips == [
        Captioned(tmp_path / "a.wav", ("a dog barks",)),
        Captioned(tmp_path / "b.wav", ("rain", "it rains")),
    ]


def test_csv_holds_one_caption_or_several_columns(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'audio,caption_1,caption_2,year\na.wav,"rain, hail",,1999\nb.wav,wind,a storm,2000\n'
    )
    assert [clip.captions for clip in read_manifest(tmp_path / "m.csv")] == [("rain, hail",), ("wind", "a storm")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", "", "names no recording"),
        ("m.csv", "", "names no recording"),
        ("m.csv", "audio,caption\n", "names no recording"),
        ("m.csv", "file,caption\na.wav,rain\n", r"no column `audio` among file, caption"),
        ("m.csv", "audio,label\na.wav,rain\n", r"no column `caption` among audio, label"),
        ("m.csv", "audio,caption\na.wav,\n", r"m\.csv:2: no `caption`"),
        ("m.csv", "audio,caption\na.wav,a dog, barking\n", r"m\.csv:2: 3 cells"),
        ("m.csv", "audio,captions\na.wav,\"['a dog'\"\n", r"m\.csv:2: `captions` is not a list like"),
        ("m.csv", f"audio,caption\n{'x' * 5_000},rain\n", r"m\.csv:2: `audio` has 5,000 characters"),
        ("m.jsonl", '{"audio": "a.wav", "caption": 5}\n', r"m\.jsonl:1: `caption` is neither a text nor a list"),
        ("m.jsonl", '{"audio": "a.wav", "captions": ["x", null]}\n', r"m\.jsonl:1: `captions` is neither a text nor"),
        ("m.jsonl", '{"audio": "a.wav", "caption": "\\ud83d"}\n', r"m\.jsonl:1: `caption` has half of a surrogate"),
        ("m.jsonl", '{"caption": "rain"}\n', r"m\.jsonl:1: no `audio`"),
        ("m.jsonl", '{"audio": "a.wav", "caption": "rain"}\n{"audio": "b.wav"}\n', r"m\.jsonl:2: no `caption`"),
        ("m.jsonl", '{"audio": "a.wav", "caption": "x"}\n{"audio": "a.wav", "caption": "y"}\n', "on line 1 already"),
        ("m.jsonl", '{"audio": "a.wav"\n', r"m\.jsonl:1: not JSON"),
        ("m.jsonl", "[1]\n", r"m\.jsonl:1: not a JSON object"),
        ("m.txt", "a.wav rain\n", "a manifest is JSON lines"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / name)


def test_a_manifest_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"{\x81\x00")
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: not UTF-8"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl", '{"audio": "a.wav", "caption": ["a dog", "rain"]}'),
        ("m.jsonl", '{"audio": "a.wav", "captions": "a dog", "caption_2": "rain"}\r\n'),
        ("m.jsonl", '\ufeff{"audio": " a.wav", "captions": ["a dog"], "caption": "rain"}\n\n'),
        ("m.csv", '\ufeffaudio;captions\r\na.wav;"[""a dog"", ""rain""]"\r\n'),
        ("m.csv", "audio;captions\na.wav;['a dog', 'rain']\n"),
        ("m.csv", "audio;captions;caption\na.wav;a dog;rain\n"),
        ("m.tsv", "audio\tcaption_1\tcaption_2\na.wav\ta dog\train\n"),
    ],
)
def test_captions_are_read_in_every_form_people_write_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    [clip] = read_manifest(tmp_path / name)
    assert clip.audio == tmp_path / "a.wav"
    assert sorted(clip.captions) == ["a dog", "rain"]


def test_manifests_that_people_sent_are_read(shared: Path) -> None:
    cases = shared / "cases"
    if not cases.exists():
        pytest.skip(f"the inputs that once went wrong are not at {cases}")
    assert read_manifest(cases / "manifest_bom.csv") == [Captioned(cases / "a.wav", ("a dog",))]
    assert read_manifest(cases / "manifest_caption_list.jsonl") == [
        Captioned(cases / "a.wav", ("a dog",)),
        Captioned(cases / "b.wav", ("a cat",)),
    ]


def test_missing_recordings_are_an_error_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "here.wav").touch()
    clips = [Captioned(tmp_path / name, ("x",)) for name in ("here.wav", "gone.wav")]
    with pytest.raises(ManifestError, match=r"1 of 2 recordings are missing, the first is .*gone\.wav"):
        check_present(clips, "manifest", 0.4)
    assert check_present(clips, "manifest", 0.5) == clips[:1]
    with pytest.raises(ManifestError, match="none of 1"):
        check_present(clips[1:], "manifest", 1.0)


def test_a_recording_from_two_data_sets_is_named(tmp_path: Path) -> None:
    clip = Captioned(tmp_path / "a.wav", ("x",))
    with pytest.raises(ManifestError, match="two data sets"):
        check_distinct([clip, clip])


def test_rows_without_a_caption_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a.wav", "caption": "rain"}\n{"audio": "b.wav", "caption": ""}\n')
    assert [clip.audio.name for clip in read_manifest(path, skip_uncaptioned=True)] == ["a.wav"]
    path.write_text('{"audio": "b.wav", "caption": ""}\n')
    with pytest.raises(ManifestError, match="names no recording with a caption"):
        read_manifest(path, skip_uncaptioned=True)
