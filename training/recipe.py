"""A recipe: the typed description of a training run, checked completely before the first step.

Paths in a recipe are relative to the command's data folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, Field, ValidationError, model_validator

from model.checkpoint import CheckpointError, read_config
from model.config import BUNDLED, ClapConfig, Frozen
from model.faults import first_fault
from model.hub import resolve
from model.prompts import check_template

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """The recipe cannot be trained; the message names the member and the cause."""


Weight = Field(1.0, gt=0, le=100)
"""How often each pair of a source is drawn in an epoch. The fraction is drawn anew in every epoch."""


class Layout(Frozen):
    """A data set in its official layout. `splits`: the reader's defaults if unset."""

    kind: Literal["fsd50k", "clotho", "audiocaps", "macs"]
    path: Path
    weight: float = Weight
    splits: tuple[str, ...] | None = None
    max_missing: float = Field(0.0, ge=0, lt=1)


class Manifest(Frozen):
    """JSON lines or CSV. `skip_uncaptioned` leaves rows without a caption out; otherwise they are an error."""

    kind: Literal["manifest"]
    path: Path
    weight: float = Weight
    skip_uncaptioned: bool = False
    max_missing: float = Field(0.0, ge=0, lt=1)


class Shards(Frozen):
    """What `anysound train shards` wrote, or any WebDataset with captions in a `json` or `txt` member.

    `path`: folders or tar files, here or at a URL (`s3://`, `gs://`, `https://`), or `pipe:` commands that print a tar
    file; one or a list. Braces are expanded: `s3://bucket/shard-{000..127}.tar`.
    """

    kind: Literal["shards"]
    path: str | tuple[str, ...]
    weight: float = Weight

    @property
    def locations(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def local(self) -> tuple[Path, ...]:
        """The locations on this machine that are not several in braces."""
        return tuple(Path(text) for text in self.locations if not any(sign in text for sign in (":", "{")))


class Labelled(Frozen):
    """The user's own recordings: a folder for each label, a table `labels.csv`, or a manifest.

    A recording with a label and no caption has one caption for each of `templates`, or for the checkpoint's template if
    there are none. `path` may be the manifest itself.
    """

    kind: Literal["labelled"]
    path: Path = Path()
    weight: float = Weight
    templates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _templates(self) -> Labelled:
        for template in self.templates:
            check_template(template)
        return self


class HubDataset(Frozen):
    """A data set of Hugging Face's `datasets`: a hub id, or a folder that `save_to_disk` wrote or with Parquet files.

    `audio` and `captions` name columns; a column of captions holds texts or lists of texts.
    """

    kind: Literal["dataset"]
    path: str
    config: str | None = None
    split: str = "train"
    audio: str = "audio"
    captions: tuple[str, ...] = Field(("caption",), min_length=1)
    weight: float = Weight


Source = Annotated[Layout | Manifest | Shards | Labelled | HubDataset, Field(discriminator="kind")]


class Validation(Frozen):
    """The data that each epoch is validated on: loss and retrieval on held-out pairs, zero-shot figures on tasks.

    `hold_out`: the share of the training recordings to hold out, chosen by their names; of labelled recordings, this
    share of each label, and all recordings of one source on the same side. `data`: further recordings. `naming`: the
    accuracy of naming held-out recordings among their labels (or captions, without labels), as the task `held-out`.
    `every_steps`: validate after every so many steps too; such a validation may be the best, but moves no schedule.
    """

    hold_out: float = Field(0.0, ge=0, lt=1)
    data: tuple[Source, ...] = ()
    naming: bool = False
    every_steps: int | None = Field(None, ge=1)
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
    """The weights to start from: audio weights of PANNs, EfficientAT or HTS-AT, a transformers folder, a checkpoint.

    `checkpoint`: a checkpoint directory, a hub id, or `bundled`. A recipe without a `checkpoint` of its own takes the
    config of this one. `head`: initialise the projections from the class head in `audio`. `text`: a folder with a
    tokenizer and, unless `text_weights` is false, `model.safetensors`; not needed for a text encoder that a Python
    package contains.
    """

    audio: Path | None = None
    head: Head | None = None
    text: Path | None = None
    text_weights: bool = True
    checkpoint: str | None = None


class Freeze(Frozen):
    """What is not trained: the bases of the encoders, the text projection, the temperature.

    `batch_norm`: normalise with the statistics that the model starts with, as small batches give poor ones.
    """

    audio: bool = False
    text: bool = False
    text_projection: bool = False
    temperature: bool = False
    batch_norm: bool = False


class Optimiser(Frozen):
    """`audio` and `text`: factors of the learning rate of the encoders' bases; projections and temperature have 1.

    `layer_decay`: the factor of the rate from each layer of a base to the layer before it (Clark et al. 2020, ELECTRA).
    `decay_all`: decay norms, biases and the temperature too, as torch does by default.
    """

    kind: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    audio: float = Field(1.0, gt=0)
    text: float = Field(1.0, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    decay_all: bool = True


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


class WandB(Frozen):
    """Weights & Biases, beside the files of the run: the same figures under the same names."""

    project: str
    name: str | None = None
    mode: Literal["online", "offline"] = "online"


class Recipe(Frozen):
    """`batch` counts all ranks: each takes an equal share, in `accumulation` chunks.

    `captions`: `all` makes a pair of each caption, `drawn` one pair of a recording with a caption drawn anew in every
    epoch. `epoch_steps`: an epoch is so many steps, in place of one pass over the data. `patience`: stop after so many
    epochs without a better validation score. `mix`: shares of the trained weights to average with the start's at the
    end (`training/loop/mix.py`). `ema`: the decay of a moving average of the weights, which is validated and published
    in their place. `loss`: `softmax` is the paper's, `sigmoid` SigLIP's. `compile`: compile both encoders with
    torch.compile, which takes minutes at the start. `fully_shard`: divide weights, gradients and optimiser state among
    the ranks (FSDP2), for encoders that do not fit beside their optimiser.
    """

    seed: int = Field(0, ge=0)
    data: tuple[Source, ...] = Field(min_length=1)
    limit: int | None = Field(None, ge=1)
    validation: Validation = Validation()
    checkpoint: ClapConfig
    start: Start = Start()
    freeze: Freeze = Freeze()
    captions: Literal["all", "drawn"] = "all"
    epochs: int = Field(40, ge=1)
    epoch_steps: int | None = Field(None, ge=1)
    patience: int | None = Field(None, ge=1)
    mix: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    ema: float | None = Field(None, ge=0, lt=1)
    batch: int = Field(128, ge=2)
    accumulation: int = Field(1, ge=1)
    loss: Literal["softmax", "sigmoid"] = "softmax"
    local_loss: bool = False
    optimiser: Optimiser = Field(Optimiser(), validation_alias=AliasChoices("optimiser", "optimizer"))
    schedule: ScheduleConfig = Plateau()
    clip_gradient: float | None = Field(None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    sync_batch_norm: bool = False
    activation_checkpointing: bool = False
    compile: bool = False
    fully_shard: bool = False
    loading: Loading = Loading()
    wandb: WandB | None = None
    saving: Saving = Saving()

    @model_validator(mode="after")
    def _sizes(self) -> Recipe:
        if self.batch % self.accumulation:
            raise ValueError(f"batch {self.batch} cannot be split into {self.accumulation} equal chunks")
        if self.compile and self.activation_checkpointing:
            raise ValueError("compile and activation_checkpointing exclude each other")
        if self.fully_shard and self.compile:
            raise ValueError("compile and fully_shard exclude each other")
        if self.fully_shard and self.precision == "float16":
            raise ValueError("fully_shard does not work with float16 and its gradient scaler: take bfloat16")
        if self.start.head is not None:
            self._check_head()
        if self.start.text is None and self.checkpoint.text_encoder.package is None and self.start.checkpoint is None:
            raise ValueError("start.text is needed: the folder of the text encoder's tokenizer and weights")
        if (self.mix or self.patience) and not self.scored:
            raise ValueError("patience and mix need a validation: tasks, naming, hold_out or data")
        if self.mix and self.start.checkpoint is None:
            raise ValueError("mix needs start.checkpoint, the weights to average with")
        return self

    @property
    def scored(self) -> bool:
        """Whether an epoch has a validation score."""
        validation = self.validation
        return bool(validation.tasks or validation.data or validation.hold_out)

    def _check_head(self) -> None:
        audio, text = self.checkpoint.audio_projection, self.checkpoint.text_projection
        if self.start.audio is None or self.checkpoint.audio_encoder.kind != "mobilenet":
            raise ValueError("start.head needs start.audio, EfficientAT's weights, and a mobilenet")
        if (audio.kind, audio.activation, text.kind) != ("mlp", "hardswish", "mlp"):
            raise ValueError("start.head needs an mlp with hardswish as audio_projection and an mlp as text_projection")

    @property
    def reads_urls(self) -> bool:
        """Whether some shards are at a URL or printed by a command."""
        sources = (*self.data, *self.validation.data)
        return any(":" in place for source in sources if isinstance(source, Shards) for place in source.locations)

    def check(self, data: Path, world: int) -> None:
        """Raises RecipeError where a data path does not exist, or `world` ranks cannot share a batch equally."""
        if self.batch % (world * self.accumulation):
            raise RecipeError(
                f"a batch of {self.batch} cannot be shared equally by {world} ranks in {self.accumulation} chunks each"
            )
        paths: dict[str, Path | None] = {}
        for place, sources in (("data", self.data), ("validation.data", self.validation.data)):
            for number, source in enumerate(sources):
                if isinstance(source, HubDataset):
                    continue  # a hub id, or a folder
                local = source.local if isinstance(source, Shards) else (source.path,)
                paths |= {f"{place}.{number}.path": path for path in local}
        paths["validation.tasks_path"] = self.validation.tasks_path
        for place, path in paths.items():
            if path is not None and not (data / path).exists():
                raise RecipeError(f"{place}: there is no {data / path}")


def read_recipe(path: Path, data: Path = Path(), start: str | None = None) -> Recipe:
    """Read a YAML file, or one of the project's recipes by its name.

    A recipe without a `checkpoint` takes that of `start.checkpoint`, which `start` replaces.

    Raises RecipeError naming the first member that is unknown, missing or out of range.
    """
    if not path.exists() and (RECIPES / path.name).exists():
        path = RECIPES / path.name
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from None
    try:
        if isinstance(content, dict):
            content = with_start(content, data, start)
        return Recipe.model_validate(content)
    except ValidationError as error:
        fault = first_fault(error)
        raise RecipeError(f"{path}: {fault.place or 'the recipe'}: {fault.message}") from None


def with_start(content: dict[str, Any], data: Path, start: str | None) -> dict[str, Any]:
    """A recipe's members with `start.checkpoint` replaced by `start`, and with its config where they have none.

    Raises RecipeError where the checkpoint cannot be read, and pydantic's ValidationError.
    """
    parts = Start.model_validate(content.get("start") or {})
    if start is not None:
        parts = parts.model_copy(update={"checkpoint": str(Path(start).resolve()) if Path(start).exists() else start})
        content = content | {"start": parts.model_dump(mode="json")}
    if parts.checkpoint is None or "checkpoint" in content:
        return content
    return content | {"checkpoint": start_config(parts.checkpoint, data).model_dump(mode="json")}


def start_folder(checkpoint: str, data: Path) -> Path:
    """The directory of `start.checkpoint`, fetched if it is a hub id. Raises RecipeError."""
    if checkpoint == "bundled":
        return BUNDLED
    try:
        return data / checkpoint if (data / checkpoint).exists() else resolve(checkpoint)
    except CheckpointError as error:
        raise RecipeError(f"start.checkpoint: {error}") from None


def start_config(checkpoint: str, data: Path) -> ClapConfig:
    """The config of `start.checkpoint`. Raises RecipeError."""
    try:
        return read_config(start_folder(checkpoint, data))
    except CheckpointError as error:
        raise RecipeError(f"start.checkpoint: {error}") from None
