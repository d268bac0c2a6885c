"""The pure parts of training.bundled.debian: names become labels, recordings become pieces, scores become MIDI."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.bundled import debian


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("sounds/cow_moo_02.ogg", "cow moo"),
        ("BigDogBark.wav", "big dog bark"),
        ("LRTrain-slowing-down_01_LA-cut.ogg", "train slowing down"),
        ("default_dirt_footstep.2.ogg", "dirt footstep"),
        ("rain_loop_rain.ogg", "rain"),
        ("horse-die_2.ogg", ""),
        ("1f-0.wav", ""),
        ("sound002.wav", ""),
        ("Music/Olympics.ogg", "music"),
        ("Sounds/voices/British/Ouch.ogg", "speech"),
    ],
)
def test_a_name_says_what_is_heard(path: str, label: str) -> None:
    assert debian.label_of(path) == label


def test_a_long_recording_becomes_pieces_spread_over_all_of_it() -> None:
    assert debian.piece_starts(30.0) == [0.0]
    assert debian.piece_starts(31.0) == [0.0, 10.5, 21.0]
    assert debian.piece_starts(600.0) == pytest.approx([0.0, 118.0, 236.0, 354.0, 472.0, 590.0])


def test_a_limit_keeps_items_of_the_whole_range() -> None:
    assert debian.evenly([1, 2, 3], 5) == [1, 2, 3]
    assert debian.evenly(range(100), 4) == [0, 25, 50, 75]


def wave(samples: object, rate: int = 8_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV")
    return out.getvalue()


def test_pieces_are_mono_at_the_training_rate_and_never_silent() -> None:
    tone = np.sin(np.arange(8_000)) * 0.5
    (piece,) = debian.pieces(wave(np.stack([tone, tone], axis=1)))
    assert piece.shape == (debian.SAMPLE_RATE,)
    assert list(debian.pieces(wave(np.zeros(8_000)))) == []
    assert list(debian.pieces(wave(tone[:400]))) == []


def test_sounds_are_found_in_folders_and_in_archives(tmp_path: Path) -> None:
    (tmp_path / "moo.wav").write_bytes(b"moo")
    with zipfile.ZipFile(tmp_path / "pak0.pk3", "w") as archive:
        archive.writestr("sound/bark.ogg", b"bark")
        archive.writestr("readme.txt", b"")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    assert [found.path for found in debian.collect(tmp_path)] == ["moo.wav", "pak0.pk3/sound/bark.ogg"]


def test_a_sound_set_names_its_sounds(tmp_path: Path) -> None:
    header = struct.pack("<II", 8, 4)
    (tmp_path / "set.cat").write_bytes(header + b'\x14"Horn". By somebody\0' + b"RIFF")
    (found,) = debian.collect(tmp_path)
    assert (found.path, found.data) == ("set.cat/000 Horn.wav", b"RIFF")


def test_midi_counts_in_groups_of_seven_bits() -> None:
    assert debian.variable_length(0x40) == b"\x40"
    assert debian.variable_length(0x2000) == b"\xc0\x00"
    assert debian.midi_file([(0, b"\x90\x40\x40")]).endswith(b"\0\x90\x40\x40\0\xff\x2f\0")


def test_every_package_has_a_licence_and_a_place_of_its_own() -> None:
    sources = debian.read_sources(debian.SOURCES)
    assert all(source.licence and source.note for source in sources)
    assert len({source.place for source in sources}) == len(sources)
