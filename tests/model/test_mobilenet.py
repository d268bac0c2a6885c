"""The compact encoder has EfficientAT's shape: the released tagger gives the same tags as in its own code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model.audio import load
from model.config import FrontEndConfig, MobileNetConfig
from model.front_end import LogMel
from model.mobilenet import MobileNet, scaled
from training.tagging.tagger import Tagger


@pytest.fixture(scope="module")
def tagger(shared: Path) -> Tagger:
    weights = shared / "data/weights"
    return Tagger(weights / "efficientat_mn04_as.pt", weights / "audioset_class_labels.csv")


def test_the_released_tagger_gives_its_own_top_five_on_twenty_real_clips(tagger: Tagger, shared: Path) -> None:
    said = json.loads((shared / "reference/efficientat-mn04-tags.json").read_text())["clips"]
    assert len(said) == 20
    for clip in said:
        waveform = torch.from_numpy(load(shared / "data" / clip["audio"], 32_000).copy())[:160_000]
        logits, features = tagger.tag(F.pad(waveform, (0, 160_000 - len(waveform)))[None])
        top = logits[0].topk(5)
        assert [tagger.classes[index] for index in top.indices] == [name for name, _ in clip["top5"]], clip["audio"]
        # The reference was resampled by another library: the figures agree to its third decimal.
        torch.testing.assert_close(features[0, :8], torch.tensor(clip["embedding_head"]), atol=2e-2, rtol=0)


@pytest.mark.parametrize(("width", "dimension"), [(0.1, 96), (0.4, 384), (1.0, 960)])
def test_the_embedding_is_six_times_the_last_width(width: float, dimension: int) -> None:
    encoder = MobileNet(MobileNetConfig(width=width), LogMel(FrontEndConfig()))
    assert encoder.embedding_dim == dimension


def test_channels_are_multiples_of_eight_and_never_fall_by_more_than_a_tenth() -> None:
    for channels in range(8, 1300, 7):
        assert scaled(channels) % 8 == 0
        assert scaled(channels) >= 0.9 * channels


def test_the_class_head_is_optional() -> None:
    encoder = MobileNet(MobileNetConfig(width=0.1), LogMel(FrontEndConfig()))
    assert not any(key.startswith("classifier") for key in encoder.state_dict())
    with pytest.raises(ValueError, match="no class head"):
        encoder.classify(torch.zeros(1, 220_500))
    assert MobileNet(MobileNetConfig(width=0.1, classes=527), LogMel(FrontEndConfig())).eval().classify(
        torch.zeros(1, 220_500)
    ).shape == (1, 527)
