"""Reading audio: bytes of any common format to one mono waveform, with every limit checked before memory is taken.

`read` gives a clip's waveform at its own sample rate, `load` at the rate asked for, `stream` the same in blocks, for
recordings of hours. They raise AudioError for a clip that cannot be used. Headers are not trusted: they are checked
against the limits, and what decodes is counted again.
"""

from model.audio.errors import AudioError
from model.audio.limits import MAX_AMPLITUDE, Limits
from model.audio.reading import Source, load, read
from model.audio.stream import ChannelsCancel, stream
from model.audio.waveform import Samples, Waveform, resample

__all__ = [
    "MAX_AMPLITUDE",
    "AudioError",
    "ChannelsCancel",
    "Limits",
    "Samples",
    "Source",
    "Waveform",
    "load",
    "read",
    "resample",
    "stream",
]
