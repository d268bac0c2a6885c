"""`anysound checkpoint`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from anysound.console import err, fail, out
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
        "examples": (
            "not calibrated: run `anysound checkpoint calibrate`"
            if config.example_scale is None
            else ", ".join(f"{name} {value:g}" for name, value in config.example_scale.model_dump().items())
        ),
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
    data: Annotated[
        list[Path] | None,
        typer.Option("--calibrate", metavar="DATA", help="Also calibrate for examples with DATA."),
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
    if data:
        calibrate(folder, data)


@app.command("calibrate")
def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint directory, which is changed.")],
    data: Annotated[
        list[Path],
        typer.Argument(help="Manifests of recordings with captions (.jsonl, .csv, .tsv), or folders with a manifest."),
    ],
) -> None:
    """Measure the constants that labels with examples need, and write them into config.json.

    Recordings that share a caption count as the same sound. Give recordings as the checkpoint was trained on, never
    those that it is evaluated on. The checkpoint gets another fingerprint.
    """
    from rich.progress import Progress

    from evaluation.embeddings import TooFewRead
    from evaluation.example_scale import example_scale
    from model.checkpoint import CheckpointError, fingerprint, load
    from model.checkpoint import calibrate as write_scale
    from training.data.manifest import ManifestError, read_manifest

    captions: dict[Path, str] = {}
    try:
        for each in data:
            for clip in read_manifest(manifest_in(each), skip_uncaptioned=True):
                captions[clip.audio] = clip.captions[0]
        checkpoint = load(folder)
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            scale = example_scale(checkpoint, captions, progress)
        write_scale(folder, scale)
    except (CheckpointError, ManifestError, TooFewRead) as error:
        raise fail(str(error)) from None
    except ValueError as error:
        raise fail(f"{', '.join(map(str, data))}: {first_line(error)}") from None
    except OSError as error:
        raise fail(f"{folder} cannot be written: {error.strerror or error}") from None
    for name, value in scale.model_dump().items():
        out.out(f"{name}  {value:.4f}")
    out.out(f"{folder}: fingerprint {fingerprint(folder)}")


def manifest_in(data: Path) -> Path:
    """The manifest itself, or the one in a folder."""
    if not data.is_dir():
        return data
    names = ("manifest.jsonl", "manifest.csv", "manifest.tsv")
    found = [data / name for name in names if (data / name).exists()]
    if not found:
        raise fail(f"{data} has none of {', '.join(names)}")
    return found[0]


def first_line(error: ValueError) -> str:
    """A fault in a line; pydantic's errors have several."""
    from pydantic import ValidationError

    from model.faults import first_fault

    return first_fault(error).message if isinstance(error, ValidationError) else str(error)


def parameters(module: Any) -> float:
    return float(sum(p.numel() for p in module.parameters())) / 1e6
