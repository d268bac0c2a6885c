"""Recordings to train on out of Debian packages: `python -m training.bundled.debian OUT_DIR`.

`debian_sources.yaml`, beside this module, lists the packages with the licence of their audio. Each is downloaded with
`apt-get download`, unpacked, and its recordings are written as mono 32 kHz files into `OUT_DIR/<folder>/`;
`OUT_DIR/manifest.jsonl` lists them in the form `training.bundled.recordings` reads. What a file's name says becomes its
caption; a recording whose name says nothing keeps an empty one, for a tagger to fill. Two entries are played rather
than found: melodies on a General MIDI SoundFont (needs `fluidsynth`) and sentences in many voices (`espeak-ng`).

A run can be stopped and started again: a folder that has its `rows.jsonl` is done.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import multiprocessing
import random
import re
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import yaml

log = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("debian_sources.yaml")
SAMPLE_RATE = 32_000
LONGEST_S = 30.0
SHORTEST_S = 0.1
PIECE_S = 10.0
MOST_PIECES = 6
FLAC_BELOW_S = 1.0
SILENCE = 1e-4
WORKERS = 2

AUDIO_SUFFIXES = frozenset({".ogg", ".oga", ".opus", ".wav", ".flac", ".mp3", ".au", ".aif", ".aiff"})
ZIP_SUFFIXES = frozenset({".zip", ".pk3", ".pk4", ".wz"})


def listed(text: str, separator: str | None = None) -> tuple[str, ...]:
    """A long list, written as the words of a text."""
    return tuple(text.split(separator))


# Words of a file name that tell where a sound is used or how it is stored, never what is heard.
UNSAID = frozenset(
    listed(
        """a alt and bg bgm copy cut default desc en env final fx high homedecor la left len long loop looped low lr
        main max mid min misc mono mp mt new no of ogg old orig part ref right sample sfx short slot snd song sound
        sounds stereo take test the theme track ui us var variant ver version vol wav xpanes"""
    )
)

# Words for what happens to a figure of a game: what is heard then is anyone's guess.
EVENTS = frozenset(
    listed(
        """ack activate affirm ambient arrive attack bonus button complete dead death destroyed die hit hurt leave magic
        menu miss pain ready select selected selection upgrade win lose lost victory year"""
    )
)
FOLDERS = {"music": "music", "musics": "music", "voice": "speech", "voices": "speech", "speech": "speech"}

Waveform = npt.NDArray[np.float32]
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """One entry of `debian_sources.yaml`.

    `only` and `skip` are patterns for the paths inside the package. `label` names every recording of an entry whose
    file names tell something else (the words that are spoken, the title of a piece); `named: false` leaves them all
    to the tagger. `played` is the name of a generator in PLAYERS.
    """

    name: str
    licence: str
    note: str
    folder: str = ""
    limit: int = 400
    only: str = ""
    skip: str = ""
    label: str = ""
    named: bool = True
    played: str = ""

    @property
    def place(self) -> str:
        return self.folder or self.name

    def wants(self, path: str) -> bool:
        return bool(re.search(self.only, path)) and not (self.skip and re.search(self.skip, path))


@dataclass(frozen=True)
class Found:
    """An audio file of a package: its path there, and its bytes."""

    path: str
    data: bytes


def read_sources(path: Path) -> list[Source]:
    """Read the packages, in the order in which they are to be worked through."""
    return [Source(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]


# Names


def words(stem: str) -> list[str]:
    """Split a file's name into lower-case words: `BigDog_bark02` gives `big dog bark`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", stem)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", spaced)]


def label_of(path: str) -> str:
    """What the name of a file says is heard, or nothing: `sounds/cow_moo_02.ogg` gives `cow moo`.

    In a folder of music or of voices the file's name is a title, or what is said: the folder's name tells more.
    """
    for folder in Path(path.lower()).parts[:-1]:
        if folder in FOLDERS:
            return FOLDERS[folder]
    said = [word for word in words(Path(path).stem) if word not in UNSAID and len(word) > 1]
    if EVENTS.intersection(said):
        return ""
    label = " ".join(dict.fromkeys(said))
    return label if re.search(r"[a-z]*[aeiouy][a-z]*", label) and len(label) > 2 else ""


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of the items, evenly spread over their order."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


# Containers


def from_zip(name: str, path: Path) -> Iterator[Found]:
    """Yield the files of a zip archive; many games keep theirs in one under another suffix."""
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            if Path(member).suffix.lower() in AUDIO_SUFFIXES:
                yield Found(f"{name}/{member}", archive.read(member))


def from_cat(name: str, path: Path) -> Iterator[Found]:
    """Yield the sounds of an OpenTTD sound set: (offset, size) pairs, then name and WAVE data of each sound."""
    data = path.read_bytes()
    count = (struct.unpack_from("<I", data)[0] & 0x7FFFFFFF) // 8
    for number in range(count):
        offset, size = struct.unpack_from("<II", data, number * 8)
        start = (offset & 0x7FFFFFFF) + 1 + data[offset & 0x7FFFFFFF]
        credit = data[(offset & 0x7FFFFFFF) + 1 : start].split(b"\0")[0].decode("latin-1").replace("/", " ")
        title = credit.split('"')[1] if credit.count('"') > 1 else credit
        yield Found(f"{name}/{number:03d} {title}.wav", data[start : start + size])


def from_rcc(name: str, path: Path) -> Iterator[Found]:
    """Yield the audio of a Qt resource file: a tree of nodes, whose names and data lie in blocks of their own."""
    data = path.read_bytes()
    version, tree, blobs, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + offset)
        return data[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def walk(node: int, folder: str) -> Iterator[Found]:
        name_offset, flags = struct.unpack_from(">IH", data, tree + node * node_size)
        here = f"{folder}/{name_at(name_offset)}" if node else folder
        if flags & 2:
            children, first = struct.unpack_from(">II", data, tree + node * node_size + 6)
            for child in range(first, first + children):
                yield from walk(child, here)
        elif Path(here).suffix.lower() in AUDIO_SUFFIXES:
            (offset,) = struct.unpack_from(">I", data, tree + node * node_size + 10)
            (size,) = struct.unpack_from(">I", data, blobs + offset)
            blob = data[blobs + offset + 4 : blobs + offset + 4 + size]
            if not flags & 4:  # 4: Zstandard
                yield Found(here, zlib.decompress(blob[4:]) if flags & 1 else blob)

    yield from walk(0, name)


CONTAINERS: dict[str, Callable[[str, Path], Iterator[Found]]] = {
    ".cat": from_cat,
    ".rcc": from_rcc,
    **dict.fromkeys(ZIP_SUFFIXES, from_zip),
}


def collect(root: Path) -> Iterator[Found]:
    """Yield every audio file of an unpacked package, those inside archives too, in the order of their paths."""
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.relative_to(root).as_posix()
        suffix = path.suffix.lower()
        if suffix in AUDIO_SUFFIXES:
            yield Found(name, path.read_bytes())
        elif suffix in CONTAINERS:
            try:
                yield from CONTAINERS[suffix](name, path)
            except (zipfile.BadZipFile, struct.error, zlib.error, UnicodeDecodeError, IndexError):
                log.warning("%s is not what its suffix says", name)


# Audio


def piece_starts(duration: float) -> list[float]:
    """Where the pieces of a recording begin, in seconds; one that is short enough is a single piece."""
    if duration <= LONGEST_S:
        return [0.0]
    count = min(MOST_PIECES, int(duration // PIECE_S))
    return [(duration - PIECE_S) * i / (count - 1) for i in range(count)]


def pieces(data: bytes) -> Iterator[Waveform]:
    """Yield the pieces of a recording as mono waveforms at SAMPLE_RATE. Silent and very short ones are left out."""
    with soundfile.SoundFile(io.BytesIO(data)) as recording:
        duration = recording.frames / recording.samplerate
        for start in piece_starts(duration):
            recording.seek(int(start * recording.samplerate))
            length = duration if duration <= LONGEST_S else PIECE_S
            samples = recording.read(int(length * recording.samplerate), dtype="float32", always_2d=True)
            waveform = soxr.resample(samples.mean(axis=1), recording.samplerate, SAMPLE_RATE)
            if waveform.size >= SHORTEST_S * SAMPLE_RATE and np.abs(waveform).max() > SILENCE:
                yield np.clip(waveform, -1.0, 1.0).astype(np.float32)


def write(stem: Path, waveform: Waveform) -> Path:
    """Write a waveform as Vorbis, or as FLAC when it is too short for a lossy codec's blocks."""
    brief = waveform.size < FLAC_BELOW_S * SAMPLE_RATE
    path = stem.with_name(stem.name + (".flac" if brief else ".ogg"))
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC" if brief else "OGG") as out:
        # libsndfile's Vorbis encoder keeps a whole write on the stack.
        for start in range(0, waveform.size, SAMPLE_RATE):
            out.write(waveform[start : start + SAMPLE_RATE])
    return path


# What is played rather than found

PROGRAMS = listed(
    "acoustic grand piano, bright piano, electric grand piano, honky-tonk piano, electric piano, electric piano, "
    "harpsichord, clavinet, celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells, dulcimer, "
    "drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion, harmonica, tango accordion, "
    "nylon string guitar, steel string guitar, jazz guitar, clean electric guitar, muted electric guitar, "
    "overdriven guitar, distortion guitar, guitar harmonics, acoustic bass, finger bass, picked bass, fretless bass, "
    "slap bass, slap bass, synth bass, synth bass, violin, viola, cello, double bass, tremolo strings, "
    "pizzicato strings, harp, timpani, string ensemble, slow strings, synth strings, synth strings, choir aahs, "
    "voice oohs, synth voice, orchestra hit, trumpet, trombone, tuba, muted trumpet, french horn, brass section, "
    "synth brass, synth brass, soprano saxophone, alto saxophone, tenor saxophone, baritone saxophone, oboe, "
    "english horn, bassoon, clarinet, piccolo, flute, recorder, pan flute, blown bottle, shakuhachi, whistle, ocarina, "
    "square lead, sawtooth lead, calliope lead, chiff lead, charang lead, voice lead, fifths lead, bass lead, "
    "synth pad, warm pad, polysynth pad, choir pad, bowed pad, metallic pad, halo pad, sweep pad, rain synth, "
    "soundtrack synth, crystal synth, atmosphere synth, brightness synth, goblins synth, echoes synth, sci-fi synth, "
    "sitar, banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai, tinkle bell, agogo, steel drums, woodblock, "
    "taiko drum, melodic tom, synth drum, reverse cymbal, guitar fret noise, breath noise, seashore waves, "
    "bird tweet, telephone ring, helicopter, applause, gunshot",
    ", ",
)
DRUM_CHANNEL = 9
DRUM_PATTERNS = 24
HI_HAT = 42
DRUMS = (36, 38, HI_HAT, 46, 45, 49, 51)
SCALE = (0, 2, 4, 5, 7, 9, 11)
FIRST_EFFECT = 120  # The last eight programs are noises: they have no melody.


def midi_file(events: Iterable[tuple[int, bytes]]) -> bytes:
    """A one-track MIDI file at 480 ticks a beat out of (tick, message) pairs."""
    track, now = b"", 0
    for tick, message in sorted(events):
        track += variable_length(tick - now) + message
        now = tick
    track += b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


def variable_length(number: int) -> bytes:
    """A number in MIDI's base 128, high groups first."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


def note(channel: int, key: int, loudness: int, start: int, length: int) -> list[tuple[int, bytes]]:
    return [
        (start, bytes((0x90 | channel, key, loudness))),
        (start + length, bytes((0x80 | channel, key, 0))),
    ]


def melody(program: int, rng: random.Random) -> bytes:
    """About 8 s on one General MIDI program: a walk over a scale, with a chord now and then; a noise is held."""
    events = [(0, bytes((0xC0, program)))]
    if program >= FIRST_EFFECT:
        return midi_file(events + note(0, rng.randint(55, 65), 110, 0, 480 * 8))
    root, step, tick = rng.randint(45, 62), rng.randint(0, 6), 0
    while tick < 480 * 16:
        length = rng.choice((240, 240, 480, 480, 960))
        chord = (0, 2, 4) if rng.random() < 0.25 else (0,)
        for third in chord:
            octave, degree = divmod(step + third, len(SCALE))
            events += note(0, root + 12 * octave + SCALE[degree], rng.randint(70, 115), tick, length)
        step = min(12, max(0, step + rng.randint(-2, 2)))
        tick += length
    return midi_file(events)


def drum_pattern(rng: random.Random) -> bytes:
    """Four bars of one random bar of drums."""
    hits = [(s, k) for s in range(16) for k in DRUMS if rng.random() < (0.4 if k == HI_HAT else 0.15)]
    hits += [(0, 36), (4, 38), (8, 36), (12, 38)]
    events: list[tuple[int, bytes]] = []
    for bar in range(4):
        for sixteenth, key in hits:
            events += note(DRUM_CHANNEL, key, rng.randint(70, 120), (bar * 16 + sixteenth) * 120, 100)
    return midi_file(events)


def play_instruments(root: Path) -> Iterator[Found]:
    """Yield a melody on every General MIDI program and some drums, played on the package's SoundFont."""
    rng = random.Random(0)
    font = next(iter(sorted(root.rglob("*.sf2"))))
    scores = [(f"{i:03d} {name} music", melody(i, rng)) for i, name in enumerate(PROGRAMS[:FIRST_EFFECT])]
    scores += [(f"{i:03d} {PROGRAMS[i]}", melody(i, rng)) for i in range(FIRST_EFFECT, len(PROGRAMS))]
    scores += [(f"{i:03d} drum kit music", drum_pattern(rng)) for i in range(DRUM_PATTERNS)]
    for name, score in scores:
        with tempfile.TemporaryDirectory() as folder:
            midi, wave = Path(folder, "score.mid"), Path(folder, "played.wav")
            midi.write_bytes(score)
            command = ["fluidsynth", "-niq", "-r", str(SAMPLE_RATE), "-g", "0.7", "-F", str(wave), str(font), str(midi)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            yield Found(f"{name}.wav", wave.read_bytes())


SENTENCES = (
    "The train to the coast leaves at half past nine from platform four.",
    "Could you please tell me where the nearest post office is?",
    "I would rather stay at home and read a book tonight.",
    "We have not seen any rain for three weeks, and the garden is dry.",
    "Please close the window before you leave the room.",
    "My sister bought two kilos of apples and a loaf of bread.",
    "The meeting has been moved to Thursday afternoon.",
    "He walked slowly down the hill, talking to himself.",
    "Press one to leave a message, or hold the line.",
    "Nobody knows exactly how old the bridge is.",
    "Four, seven, nine, two, zero, five.",
    "Thank you very much, and have a nice day.",
)
VOICES = listed(
    "en-us en-gb en-us+f1 en-us+f2 en-us+f3 en-us+f4 en-us+m1 en-us+m3 en-us+m7 en-gb+f5 en-gb+Annie en-gb+Andy "
    "en-gb-scotland en-us+whisper en-us+klatt2 de de+f2 fr fr+f3 es es-419+f1 it it+f4 ru cmn hi tr pt-br+f2 pl sv"
)


def speak_sentences(_: Path) -> Iterator[Found]:
    """Yield sentences said by many voices of espeak-ng; one of another language reads the same text its own way."""
    rng = random.Random(0)
    for number, voice in enumerate(VOICES):
        for sentence in rng.sample(range(len(SENTENCES)), 5):
            command = ["espeak-ng", "-v", voice, "-s", str(rng.randint(130, 190)), "-p", str(rng.randint(30, 70))]
            spoken = subprocess.run(
                [*command, "--stdout", SENTENCES[sentence]], check=True, capture_output=True, timeout=60
            )
            yield Found(f"{number:03d} {sentence:02d}.wav", with_true_length(spoken.stdout))


def with_true_length(wave: bytes) -> bytes:
    """A WAVE file written to a pipe states no length; put its real one in."""
    return wave[:4] + struct.pack("<I", len(wave) - 8) + wave[8:40] + struct.pack("<I", len(wave) - 44) + wave[44:]


PLAYERS: dict[str, Callable[[Path], Iterator[Found]]] = {"instruments": play_instruments, "speech": speak_sentences}


# Packages


def download(name: str, cache: Path) -> Path:
    """The package's file, out of the cache or downloaded. Raises CalledProcessError where there is none to be had."""
    cache.mkdir(parents=True, exist_ok=True)
    if not any(cache.glob(f"{name}_*.deb")):
        command = ["apt-get", "download", "-qq", name]
        subprocess.run(command, cwd=cache, check=True, capture_output=True, timeout=1800)
    return sorted(cache.glob(f"{name}_*.deb"))[-1]


def distinct(found: Iterable[Found]) -> Iterator[Found]:
    """Drop files whose bytes came before."""
    seen: set[bytes] = set()
    for one in found:
        digest = hashlib.sha256(one.data).digest()
        if digest not in seen:
            seen.add(digest)
            yield one


def row(source: Source, audio: Path, path: str) -> Row:
    label = source.label or (label_of(path) if source.named else "")
    return {
        "audio": audio.as_posix(),
        "caption": f"the sound of {label}" if label else "",
        "labels": [label] if label else [],
        "source": f"{source.name} (Debian)",
        "licence": source.licence,
    }


def save(source: Source, found: Iterable[Found], out: Path) -> tuple[list[Row], float]:
    """Write the recordings of a package; return their rows and how many seconds they last."""
    folder = out / source.place
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    seconds = 0.0
    for number, one in enumerate(found):
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(one.path).stem).strip("-")[:60]
        try:
            for piece, waveform in enumerate(pieces(one.data)):
                audio = write(folder / f"{number:04d}-{stem}-{piece}", waveform)
                rows.append(row(source, audio.relative_to(out), one.path))
                seconds += waveform.size / SAMPLE_RATE
        except soundfile.LibsndfileError:
            log.debug("%s: %s cannot be decoded", source.name, one.path)
    return rows, seconds


def gather(source: Source, out: Path) -> str:
    """Do one package and return the line that reports it."""
    try:
        package = download(source.name, out / "cache")
        with tempfile.TemporaryDirectory() as root:
            subprocess.run(["dpkg-deb", "-x", str(package), root], check=True, capture_output=True)
            found = PLAYERS[source.played](Path(root)) if source.played else collect(Path(root))
            wanted = [one for one in distinct(found) if source.wants(one.path)]
            rows, seconds = save(source, evenly(wanted, source.limit), out)
    except (subprocess.SubprocessError, OSError, StopIteration) as error:
        return f"{source.place}: skipped, {error}"
    done = out / source.place / "rows.jsonl"
    unfinished = done.with_suffix(".part")
    unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    unfinished.rename(done)
    return f"{source.place}: {len(rows)} files out of {len(wanted)} recordings, {seconds:.0f} s"


def write_manifest(sources: Sequence[Source], out: Path) -> int:
    """Put the rows of all finished packages together; return how many there are."""
    done = [out / source.place / "rows.jsonl" for source in sources]
    rows = "".join(path.read_text(encoding="utf-8") for path in done if path.exists())
    unfinished = out / "manifest.part"
    unfinished.write_text(rows, encoding="utf-8")
    unfinished.rename(out / "manifest.jsonl")
    return rows.count("\n")


def _gather(job: tuple[Source, Path]) -> str:
    return gather(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--sources", type=Path, default=SOURCES)
    parser.add_argument("--first", type=int, help="so many entries of the list; all of them where this is not given")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sources = read_sources(options.sources)[: options.first]
    out: Path = options.out.resolve()
    to_do = [source for source in sources if not (out / source.place / "rows.jsonl").exists()]
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for line in pool.imap_unordered(_gather, [(source, out) for source in to_do]):
            log.info("%s; %d in all", line, write_manifest(sources, out))


if __name__ == "__main__":
    main()
