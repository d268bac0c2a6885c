"""`anysound checkpoint`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from anysound.console import fail, out
from anysound.options import open_checkpoint

app = typer.Typer(help="Show checkpoints, and import those of other projects.", no_args_is_help=True)


@app.command("info")
def info(
    model: Annotated[
        str | None, typer.Argument(help="A directory or a hub id. Default: the bundled checkpoint.")
    ] = None,
) -> None:
    """Show a checkpoint: name, fingerprint, front end, encoders, sizes, sources, training."""
    checkpoint = open_checkpoint(model)
    config = checkpoint.config
    clap = checkpoint.model
    front_end = config.front_end
    rows = {
        "name": config.name,
        "fingerprint": checkpoint.fingerprint,
        "licence": config.licence or "not stated",
        "front end": (
            f"{front_end.sample_rate} Hz, window {front_end.window_length}, hop {front_end.hop_length}, "
            f"{front_end.mel_bins} {front_end.mel_scale} mel bins {front_end.f_min:g}-{front_end.f_max:g} Hz"
        ),
        "windows": f"{front_end.window_s:g} s every {front_end.window_hop_s:g} s, padding {front_end.padding}",
        "audio encoder": f"{config.audio_encoder.kind}, {parameters(clap.audio_encoder):.2f} M parameters",
        "text encoder": (
            f"{config.text_encoder.package or 'in the checkpoint'}, {parameters(clap.caption_encoder):.2f} M parameters"
        ),
        "joint dimension": str(config.joint_dim),
        "logit scale": f"{checkpoint.logit_scale:.2f}",
        "template": config.prompts.template,
        "background": ", ".join(config.prompts.background),
        "sources": "\n".join(config.sources) or "not stated",
        "training": json.dumps(config.training, ensure_ascii=False) if config.training else "not stated",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    out.print(table)


@app.command("import")
def import_released(
    kind: Annotated[str, typer.Argument(help="transformers, msclap-2022, msclap-2023, laion, panns or efficientat")],
    source: Annotated[str, typer.Argument(metavar="FILE_OR_REPO", help="The released weights, or their hub id.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The checkpoint directory to write.")],
    name: Annotated[str | None, typer.Option(help="The model's name. Default: its file's.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory of the tokenizer, for files without one. Default: from the hub.")
    ] = None,
) -> None:
    """Convert a released CLAP to a checkpoint directory. Every key is checked, and no pickled code is run."""
    from model.checkpoint import CheckpointError
    from model.hub import import_model

    try:
        imported = import_model(kind, source, name, tokenizer)
        imported.write(folder)
    except CheckpointError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{folder} cannot be written: {error.strerror or error}") from None
    for path, digest in imported.files.items():
        out.out(f"{digest}  {path}")
    for note in imported.notes:
        out.print(note, soft_wrap=True)
    out.out(f"{folder}: {imported.model.config.name}, {len(imported.model.state_dict())} tensors")


def parameters(module: Any) -> float:
    return float(sum(p.numel() for p in module.parameters())) / 1e6
