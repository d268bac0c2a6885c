"""`anysound embed`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anysound.console import fail, print_line, report_failure
from anysound.options import ModelOption, open_checkpoint, recording, utf8


def embed(
    texts: Annotated[list[str] | None, typer.Option("--text", help="A text to embed.")] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--audio", help="A recording to embed; - is standard input.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Print L2-normalised embeddings, one JSON object per line: texts first, then recordings."""
    from model.audio import AudioError
    from model.classify import clip_embedding
    from model.embed import clip_windows, embed_prompts, embed_windows

    if not texts and not files:
        raise fail("nothing to embed: give --text or --audio")
    checkpoint = open_checkpoint(model)
    if texts:
        texts = [utf8(text, "a text") for text in texts]
        for text, vector in zip(texts, embed_prompts(checkpoint, texts), strict=True):
            print_line({"text": text, "embedding": vector.tolist()})
    failed = False
    for file in files or ():
        try:
            vector = clip_embedding(embed_windows(checkpoint, clip_windows(recording(file), checkpoint)[0]))
        except (AudioError, OSError) as error:
            failed = True
            report_failure(file, error, as_json=True)
            continue
        print_line({"name": str(file), "embedding": vector.tolist()})
    raise typer.Exit(1 if failed else 0)
