"""The typed content of a checkpoint's `config.json`: every number that a CLAP needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from model.prompts import check_template

BUNDLED = Path(__file__).parent / "checkpoints" / "default"
"""The checkpoint that comes with the project."""

MelScale = Literal["slaney", "htk", "kaldi", "stored"]
Padding = Literal["repeat", "repeat_whole", "zero"]


class Frozen(BaseModel):
    """Immutable; an unknown member is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FrontEndConfig(Frozen):
    """From waveform to log-mel spectrogram, and how a recording is cut into windows.

    The defaults are the paper's (Elizalde et al. 2022, section 4): 44.1 kHz, window 1024, hop 320, 64 mel bins from
    50 to 8000 Hz, 5 s. Frequencies in Hz, durations in seconds, `window_length`, `hop_length` and `n_fft` in samples.
    `double_precision` is for models that were trained on spectrograms in float64; it matters in bins near silence.
    """

    sample_rate: int = Field(44_100, ge=1_000, le=384_000)
    n_fft: int = Field(1024, ge=16)
    window_length: int = Field(1024, ge=16)
    hop_length: int = Field(320, ge=1)
    mel_bins: int = Field(64, ge=1)
    f_min: float = Field(50.0, ge=0)
    f_max: float = Field(8_000.0, gt=0)
    mel_scale: MelScale = "slaney"
    periodic_window: bool = True
    pre_emphasis: float | None = Field(None, gt=0, lt=1)
    double_precision: bool = False
    log: Literal["decibel", "natural"] = "decibel"
    log_floor: float = Field(1e-10, gt=0)
    mean: float = 0.0
    scale: float = Field(1.0, gt=0)
    window_s: float = Field(5.0, gt=0)
    window_hop_s: float = Field(5.0, gt=0)
    padding: Padding = "repeat"

    @model_validator(mode="after")
    def _bounds(self) -> FrontEndConfig:
        if self.window_length > self.n_fft:
            raise ValueError(f"window_length {self.window_length} is longer than n_fft {self.n_fft}")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"the mel band {self.f_min}-{self.f_max} Hz does not fit {self.sample_rate} Hz audio")
        if self.window_hop_s > self.window_s:
            raise ValueError("window_hop_s is longer than window_s: audio between two windows would be skipped")
        return self

    @property
    def window_samples(self) -> int:
        """Length of one window, the only input length of the encoder."""
        return round(self.window_s * self.sample_rate)

    @property
    def window_hop_samples(self) -> int:
        return round(self.window_hop_s * self.sample_rate)


class Cnn14Config(Frozen):
    """PANNs CNN14 (Kong et al. 2020): 80 M parameters, 2048-d embedding."""

    kind: Literal["cnn14"] = "cnn14"
    embedding_dim: int = Field(2048, ge=1)
    classes: int | None = Field(527, ge=1)


class MobileNetConfig(Frozen):
    """EfficientAT's MobileNetV3-Large (Schmid et al. 2023); `width` multiplies every channel count."""

    kind: Literal["mobilenet"] = "mobilenet"
    width: float = Field(0.4, gt=0, le=4)
    classes: int | None = Field(None, ge=1)


class HtsatConfig(Frozen):
    """HTS-AT (Chen et al. 2022), a Swin transformer over the spectrogram folded into a square.

    The defaults are HTSAT-tiny's: 31 M parameters, 768-d embedding. `stage` members hold one entry per stage; each
    stage has half the patches and twice the channels of the one before. `fused` is LAION's feature fusion (Wu et al.
    2023, section 3.2). With `fuse_windows`, windows pass through the fusion, as in transformers for a single short
    clip; without, they bypass it, as in laion_clap. With `fusion_s`, a window may be longer: what exceeds `fusion_s`
    seconds is fused from the whole recording, shrunk in time, and three parts of it, as in LAION's training.
    """

    kind: Literal["htsat"] = "htsat"
    width: int = Field(96, ge=1)
    stage_depths: tuple[int, ...] = Field((2, 2, 6, 2), min_length=1)
    stage_heads: tuple[int, ...] = Field((4, 8, 16, 32), min_length=1)
    attention_window: int = Field(8, ge=1)
    image_size: int = Field(256, ge=8)
    patch_size: int = Field(4, ge=1)
    patch_stride: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    fused: bool = False
    fuse_windows: bool = True
    fusion_squeeze: int = Field(4, ge=1)
    fusion_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _stages(self) -> HtsatConfig:
        if self.fusion_s is not None and not self.fused:
            raise ValueError("fusion_s needs a fused model")
        if len(self.stage_depths) != len(self.stage_heads):
            raise ValueError(f"{len(self.stage_depths)} stage_depths but {len(self.stage_heads)} stage_heads")
        return self


AudioEncoderConfig = Annotated[Cnn14Config | MobileNetConfig | HtsatConfig, Field(discriminator="kind")]


class TextEncoderConfig(Frozen):
    """A BERT-family encoder, or GPT-2, from transformers.

    `suffix` is appended to every prompt; a prompt that is truncated keeps its last token. `package` names a Python
    package that contains the weights (`path` inside it, `sha256` of `model.safetensors`). Without one, the checkpoint
    stores the weights, and `architecture` is their transformers config.
    """

    package: str | None = None
    path: str = "."
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    architecture: dict[str, Any] | None = None
    pooling: Literal["cls", "mean", "pooler", "last"] = "cls"
    max_tokens: int = Field(100, ge=4)
    suffix: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> TextEncoderConfig:
        if (self.package is None) == (self.architecture is None):
            raise ValueError("text_encoder needs exactly one of `package` and `architecture`")
        if self.package is not None and self.sha256 is None:
            raise ValueError("text_encoder weights taken from a package need their `sha256`")
        return self


class ProjectionConfig(Frozen):
    """`linear` is the paper's projection, `residual` the two-layer one of Microsoft's code, `identity` none.

    `mlp` is LAION's: linear, `activation`, linear.
    """

    kind: Literal["linear", "residual", "mlp", "identity"] = "linear"
    bias: bool = True
    activation: Literal["relu", "gelu", "hardswish"] = "relu"
    dropout: float = Field(0.5, ge=0, lt=1)


class PromptConfig(Frozen):
    """The prompt template, and the background prompts that sigmoid and open-set scores are computed against."""

    template: str = "this is a sound of {label}"
    background: tuple[str, ...] = ("background noise", "silence", "an unrelated sound")

    @model_validator(mode="after")
    def _template(self) -> PromptConfig:
        check_template(self.template)
        if not self.background:
            raise ValueError("at least one background prompt is needed")
        return self


class ExampleScale(Frozen):
    """Mean cosines that put similarities with examples on the scale of similarities with texts (`model.examples`).

    `tau0` is the mean cosine of a recording and an unrelated text, `tau1` of a recording and its own text; `a0` of two
    unrelated recordings, `a1` of two recordings of the same sound.
    """

    tau0: float = Field(ge=-1, le=1)
    tau1: float = Field(ge=-1, le=1)
    a0: float = Field(ge=-1, le=1)
    a1: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _order(self) -> ExampleScale:
        if not (self.tau0 < self.tau1 and self.a0 < self.a1):
            raise ValueError("right pairs must be nearer to each other than unrelated ones: tau0 < tau1, a0 < a1")
        return self


class ClapConfig(Frozen):
    """The `config.json` of a checkpoint. A checkpoint without `example_scale` was not calibrated for examples."""

    name: str
    front_end: FrontEndConfig = FrontEndConfig()
    audio_encoder: AudioEncoderConfig = Cnn14Config()
    text_encoder: TextEncoderConfig
    audio_projection: ProjectionConfig = ProjectionConfig()
    text_projection: ProjectionConfig = ProjectionConfig()
    joint_dim: int = Field(1024, ge=1)
    prompts: PromptConfig = PromptConfig()
    licence: str = ""
    sources: tuple[str, ...] = ()
    training: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fusion(self) -> ClapConfig:
        # Zeros at the end show how long a recording is.
        if getattr(self.audio_encoder, "fusion_s", None) is not None and self.front_end.padding != "zero":
            raise ValueError("audio_encoder.fusion_s needs the padding zero")
        return self

    example_scale: ExampleScale | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        members: dict[str, Any] = serialize(self)
        if self.example_scale is None:
            members.pop("example_scale", None)  # so that the config, and its fingerprint, is the one it was before
        return members
