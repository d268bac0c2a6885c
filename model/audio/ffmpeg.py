"""FFmpeg (PyAV): MP3, MP4, WebM, AMR and whatever libsndfile cannot open, from a list of containers and codecs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from model.audio.byte_stream import ByteStream
from model.audio.downmix import Downmix, join
from model.audio.errors import AudioError
from model.audio.formats import TAKEN, other
from model.audio.limits import Budget
from model.audio.waveform import Samples, Waveform, resample

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_BAD_PACKETS = 1_000
"""Packets that fail to decode before a clip is given up. Each takes time and gives no frames to count."""

CONTAINERS = (
    "3gp,aa,aac,ac3,act,aea,aiff,amr,ape,asf,au,avi,avr,caf,dsf,dss,dts,dtshd,eac3,flac,flv,gsm,iff,ilbc,ircam,loas,"
    "matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,oma,osq,pvf,qcp,qoa,rm,shn,sox,tak,truehd,tta,voc,w64,wav,"
    "wv,xwma"
)
"""FFmpeg's names of the demuxers that are given a clip.

All of them find their audio in the clip itself. Playlists and indices (hls, dash, concat, sdp, image2, imf) open other
files and addresses, and are not among them.
"""

DECODERS = (
    # compressed, as on the web, in films and in broadcasts
    "aac,aac_latm,ac3,alac,atrac1,atrac3,atrac3al,atrac3plus,atrac3plusal,cook,dca,eac3,mlp,mp1,mp1float,mp2,mp2float,"
    "mp3,mp3adufloat,mp3float,mp3on4float,mpc7,mpc8,opus,qdm2,qdmc,s302m,sipr,truehd,vorbis,wmapro,wmav1,wmav2,"
    # lossless
    "ape,dsd_lsbf,dsd_lsbf_planar,dsd_msbf,dsd_msbf_planar,dst,flac,osq,qoa,ralf,shorten,tak,tta,wavpack,wmalossless,"
    # speech and telephony
    "amrnb,amrwb,dss_sp,evrc,g722,g723_1,g726,g726le,g729,gsm,gsm_ms,ilbc,msnsiren,nellymoser,qcelp,real_144,real_288,"
    "siren,speex,truespeech,wmavoice,"
    # few bits per sample
    "8svx_exp,8svx_fib,adpcm_ct,adpcm_ima_oki,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_sbpro_2,adpcm_sbpro_3,"
    "adpcm_sbpro_4,adpcm_swf,adpcm_yamaha,mace3,mace6,"
    # uncompressed
    "pcm_alaw,pcm_bluray,pcm_dvd,pcm_f16le,pcm_f24le,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,"
    "pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,"
    "pcm_s32le_planar,pcm_s64be,pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,pcm_u32be,"
    "pcm_u32le,pcm_u8,pcm_vidc"
)
"""FFmpeg's names of the decoders that are run. None of them reads anything but the packets it is given."""

CODECS = frozenset(DECODERS.split(","))

OPTIONS = {
    "format_whitelist": CONTAINERS,
    "codec_whitelist": DECODERS,
    "protocol_whitelist": "",  # no demuxer may open a file or an address, whatever it finds in the clip
}
DTYPES: dict[str, npt.DTypeLike] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}

av.logging.set_level(None)


def read(data: memoryview, budget: Budget, downmix: Downmix) -> Waveform | None:
    """Decode a clip; None where FFmpeg cannot open it. Raises AudioError.

    A length that a header states is not held against the clip: it is often a guess from the bit rate of the first
    frames, or the length of a recording that the clip was cut from. Frames are counted as they decode.
    """
    opened = blocks(data, budget, downmix)
    return None if opened is None else Waveform(join(opened[1]), opened[0])


def blocks(data: memoryview, budget: Budget, downmix: Downmix) -> tuple[int, Iterator[Samples]] | None:
    """The rate of a clip in Hz and its samples in blocks; None where FFmpeg cannot open it. Raises AudioError."""
    if other(data) is not None:  # FFmpeg would try every format on it
        return None
    try:
        container = av.open(ByteStream(data), mode="r", options=OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        return None
    decoded = _decoded(container, budget, downmix)
    # The rate is the first frame's, which is known once it is decoded.
    rate = next(decoded)
    assert isinstance(rate, int)  # noqa: S101
    return rate, decoded  # type: ignore[return-value]


def _decoded(container: InputContainer, budget: Budget, downmix: Downmix) -> Iterator[int | Samples]:
    """The rate, then the blocks. The container is closed at the end."""
    with container:
        stream = _stream(container)
        stream.codec_context.thread_count = 1
        if stream.rate and stream.channels:
            budget.check_format(stream.rate, stream.channels)
        frames = _frames(container, stream)
        first = next(frames, None)
        if first is None:
            yield budget.limits.min_rate
            return
        yield first.sample_rate
        yield from _blocks(itertools.chain([first], frames), first.sample_rate, budget, downmix)


def _stream(container: InputContainer) -> AudioStream:
    """The audio track that a player would choose: the one flagged as default, or the first, of those that can be read.

    Raises AudioError naming the container and the codec if there is none.
    """
    tracks = sorted(
        container.streams.audio, key=lambda track: (not track.disposition & Disposition.default, track.index)
    )
    if not tracks:
        raise AudioError("no_audio_stream", f"The clip is {container.format.long_name} and has no audio stream.")
    for track in tracks:
        codec: AudioCodecContext | None = track.codec_context
        if codec is not None and codec.codec.name in CODECS:
            return track
    codec = tracks[0].codec_context
    name = "an unknown codec" if codec is None else codec.codec.long_name
    raise AudioError(
        "unrecognised", f"The clip is {container.format.long_name} with {name}, which is not read. {TAKEN}"
    )


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """The frames that decode; a bad packet is left out, as a player leaves it out."""
    good = bad = 0
    packets = container.demux(stream)
    while bad < MAX_BAD_PACKETS:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.EOFError:
            break
        except av.FFmpegError:
            bad += 1
            continue
        good += len(frames)
        yield from frames
    if bad and not good:
        raise AudioError("corrupt", f"The clip cannot be decoded: none of its {bad} packets is intact.")


def _blocks(frames: Iterable[av.AudioFrame], rate: int, budget: Budget, downmix: Downmix) -> Iterator[Samples]:
    """Mono blocks at `rate` Hz, the first frame's: a stream may change its rate and channels on the way."""
    for frame in frames:
        channels = frame.layout.nb_channels
        budget.check_format(frame.sample_rate, channels)
        block = resample(downmix.mono(_channels(frame)), frame.sample_rate, rate)
        budget.spend(len(block), rate, channels)
        yield block


def _channels(frame: av.AudioFrame) -> Samples:
    """A frame's samples [channels, frames]: integers are scaled to [-1, 1), floats are kept as they are.

    PyAV's `to_ndarray` reads past the eighth plane of a frame, and its resampler starts a thread for each core.
    """
    channels, planar = frame.layout.nb_channels, frame.format.is_planar
    planes, count = (channels, frame.samples) if planar else (1, frame.samples * channels)
    try:
        dtype = DTYPES[frame.format.packed.name]
        parts = [np.frombuffer(memoryview(plane), dtype, count) for plane in frame.planes[:planes]]
        data = parts[0][np.newaxis] if planes == 1 else np.stack(parts)
    except (KeyError, IndexError, ValueError):
        detail = f"The clip has frames that cannot be read: {channels} channels of {frame.format.name}."
        raise AudioError("corrupt", detail) from None
    if not planar:
        data = data.reshape(-1, channels).T
    with np.errstate(over="ignore"):
        samples = data.astype(np.float32)
    if data.dtype.kind == "f":
        return samples
    full_scale = np.float32(2 ** (8 * data.itemsize - 1))
    if data.dtype.kind == "u":
        samples -= full_scale
    samples /= full_scale
    return samples
