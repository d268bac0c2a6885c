"""What a clip's first bytes say it is."""

from __future__ import annotations

SIGNATURES = (
    (0, b"RIFF", "WAV"),
    (0, b"RF64", "WAV"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"ID3", "MP3"),
)


def signature(data: memoryview) -> str | None:
    """The container that the clip begins as; None where its first bytes are none that is known."""
    return next((name for at, magic, name in SIGNATURES if data[at : at + len(magic)] == magic), None)
