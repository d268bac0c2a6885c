"""Chained Ogg: several logical streams one after the other in one file (RFC 3533, section 4)."""

from __future__ import annotations

import re
from itertools import pairwise

from model.audio.errors import AudioError

MAX_LINKS = 1_000

FIRST_PAGE = re.compile(
    rb"OggS\x00[\x02\x06].{20}\x01(.)(?:\x01vorbis|OpusHead|\x7fFLAC|Speex   |\x80theora|fishead\x00)", re.DOTALL
)
"""The page that begins a logical stream. It holds the codec's identification alone, in one segment."""
HEADER_BYTES = 28


def links(data: memoryview) -> list[slice]:
    """The positions of the parts of a chain, each an Ogg file of its own; one part where there is no chain.

    Streams that begin together (sound and picture) belong to one part. Raises AudioError above MAX_LINKS parts.
    """
    starts: list[int] = []
    together = -1
    for page in FIRST_PAGE.finditer(data):
        if page.start() != together:
            starts.append(page.start())
            if len(starts) > MAX_LINKS:
                raise AudioError("corrupt", f"The clip is a chain of more than {MAX_LINKS} Ogg streams.")
        together = page.start() + HEADER_BYTES + page[1][0]
    return [slice(start, stop) for start, stop in pairwise([0, *starts[1:], len(data)])]
