"""A recipe: the typed description of a training run, checked completely before the first step.

Paths in a recipe are relative to the command's data folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, Field, ValidationError, model_validator

from model.config import ClapConfig, Frozen
from model.faults import first_fault

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """The recipe cannot be trained; the message names the member and the cause."""


class Layout(Frozen):
    """A data set in its official layout. `splits`: the reader's defaults if unset."""

    kind: Literal["fsd50k", "clotho", "audiocaps", "macs"]
    path: Path
    splits: tuple[str, ...] | None = None
    max_missing: float = Field(0.0, ge=0, lt=1)


class Manifest(Frozen):
    """JSON lines or CSV. `skip_uncaptioned` leaves rows without a caption out; otherwise they are an error."""

    kind: Literal["manifest"]
    path: Path
    skip_uncaptioned: bool = False
    max_missing: float = Field(0.0, ge=0, lt=1)


class Shards(Frozen):
    """A folder that `anysound train shards` wrote, or any WebDataset with captions in a `json` or `txt` member."""

    kind: Literal["shards"]
    path: Path


Source = Annotated[Layout | Manifest | Shards, Field(discriminator="kind")]


class Validation(Frozen):
    """The data that each epoch is validated on: loss and retrieval on held-out pairs, zero-shot figures on tasks.

    `hold_out`: the share of the training recordings to hold out, chosen by their names. `data`: further recordings.
    """

    hold_out: float = Field(0.0, ge=0, lt=1)
    data: tuple[Source, ...] = ()
    tasks: tuple[str, ...] = ()
    tasks_path: Path | None = None

    @model_validator(mode="after")
    def _place(self) -> Validation:
        if self.tasks and self.tasks_path is None:
            raise ValueError("tasks need tasks_path, the folder of their data sets")
        return self


class Head(Frozen):
    """How the projections are initialised from the class head of EfficientAT's weights (training/start/head.py).

    `recordings`: at most this many are encoded. `shrinkage`: the share of the mean variance that is added to the
    diagonal of their covariance. `captions`: the weight of a caption relative to a phrase of a class. `steps`: training
    steps of the text projection.
    """

    recordings: int = Field(8_192, ge=2)
    shrinkage: float = Field(0.3, gt=0)
    captions: float = Field(3.0, ge=0)
    steps: int = Field(400, ge=2)


class Start(Frozen):
    """The weights to start from: PANNs' or EfficientAT's audio weights, a transformers folder, a whole checkpoint.

    `head`: initialise the projections from the class head in `audio`. `text`: a folder with a tokenizer and, unless
    `text_weights` is false, `model.safetensors`; not needed for a text encoder that a Python package contains.
    """

    audio: Path | None = None
    head: Head | None = None
    text: Path | None = None
    text_weights: bool = True
    checkpoint: Path | None = None


class Freeze(Frozen):
    audio: bool = False
    text: bool = False


class Optimiser(Frozen):
    """`audio` and `text`: factors of the learning rate of the encoders' bases; projections and temperature have 1."""

    kind: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    audio: float = Field(1.0, gt=0)
    text: float = Field(1.0, gt=0)


class Plateau(Frozen):
    """Multiply the learning rate by `factor` when the loss has not improved for more than `patience` epochs.

    An improvement is a fall of more than 0.01 %. The loss is the held-out loss, or the training loss without held-out
    pairs.
    """

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(10, ge=0)
    warm_up_steps: int = Field(0, ge=0)


class Cosine(Frozen):
    """Half a cosine from the full learning rate down to the share `final` of it at the last step."""

    kind: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1)
    warm_up_steps: int = Field(0, ge=0)


ScheduleConfig = Annotated[Plateau | Cosine, Field(discriminator="kind")]


class Loading(Frozen):
    """`workers`: processes per rank, each `prefetch` batches ahead. `max_broken`: allowed share of unreadable files."""

    workers: int = Field(2, ge=0)
    prefetch: int = Field(4, ge=1)
    max_broken: float = Field(0.05, ge=0, le=1)


class Saving(Frozen):
    """A state is saved every `every_steps` steps and at the end of each epoch; the newest `keep` stay."""

    every_steps: int | None = Field(None, ge=1)
    keep: int = Field(2, ge=1)


class Recipe(Frozen):
    """`batch` counts all ranks: each takes an equal share, in `accumulation` chunks."""

    seed: int = Field(0, ge=0)
    data: tuple[Source, ...] = Field(min_length=1)
    limit: int | None = Field(None, ge=1)
    validation: Validation = Validation()
    checkpoint: ClapConfig
    start: Start = Start()
    freeze: Freeze = Freeze()
    epochs: int = Field(40, ge=1)
    batch: int = Field(128, ge=2)
    accumulation: int = Field(1, ge=1)
    local_loss: bool = False
    optimiser: Optimiser = Field(Optimiser(), validation_alias=AliasChoices("optimiser", "optimizer"))
    schedule: ScheduleConfig = Plateau()
    clip_gradient: float | None = Field(None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    sync_batch_norm: bool = False
    activation_checkpointing: bool = False
    loading: Loading = Loading()
    saving: Saving = Saving()

    @model_validator(mode="after")
    def _sizes(self) -> Recipe:
        if self.batch % self.accumulation:
            raise ValueError(f"batch {self.batch} cannot be split into {self.accumulation} equal chunks")
        if self.start.head is not None:
            self._check_head()
        if self.start.text is None and self.checkpoint.text_encoder.package is None and self.start.checkpoint is None:
            raise ValueError("start.text is needed: the folder of the text encoder's tokenizer and weights")
        return self

    def _check_head(self) -> None:
        audio, text = self.checkpoint.audio_projection, self.checkpoint.text_projection
        if self.start.audio is None or self.checkpoint.audio_encoder.kind != "mobilenet":
            raise ValueError("start.head needs start.audio, EfficientAT's weights, and a mobilenet")
        if (audio.kind, audio.activation, text.kind) != ("mlp", "hardswish", "mlp"):
            raise ValueError("start.head needs an mlp with hardswish as audio_projection and an mlp as text_projection")

    def check(self, data: Path, world: int) -> None:
        """Raises RecipeError where a data path does not exist, or `world` ranks cannot share a batch equally."""
        if self.batch % (world * self.accumulation):
            raise RecipeError(
                f"a batch of {self.batch} cannot be shared equally by {world} ranks in {self.accumulation} chunks each"
            )
        paths: dict[str, Path | None] = {f"data.{n}.path": source.path for n, source in enumerate(self.data)}
        paths |= {f"validation.data.{n}.path": source.path for n, source in enumerate(self.validation.data)}
        paths["validation.tasks_path"] = self.validation.tasks_path
        for place, path in paths.items():
            if path is not None and not (data / path).exists():
                raise RecipeError(f"{place}: there is no {data / path}")


def read_recipe(path: Path) -> Recipe:
    """Read a YAML file. Raises RecipeError naming the first member that is unknown, missing or out of range."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from None
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        fault = first_fault(error)
        raise RecipeError(f"{path}: {fault.place or 'the recipe'}: {fault.message}") from None
