"""PANNs and EfficientAT: audio encoders taken over whole, to train a CLAP from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

from model import audio
from model.checkpoint import CheckpointError
from model.checkpoint import load as load_checkpoint
from model.cnn14 import Cnn14
from model.config import Cnn14Config, FrontEndConfig
from model.front_end import LogMel
from model.importers import read
from model.importers.torchlibrosa import fourier_kernels
from model.mobilenet import MobileNet


def test_efficientats_tagger_gives_20_real_clips_the_tags_its_own_code_gives(shared: Path) -> None:
    weights = shared / "data" / "weights"
    imported = read("efficientat", weights / "efficientat_mn04_as.pt")
    encoder = imported.model.audio_encoder.base
    assert isinstance(encoder, MobileNet)
    with (weights / "audioset_class_labels.csv").open(encoding="utf-8", newline="") as file:
        classes = [row["display_name"] for row in csv.DictReader(file)]
    said = json.loads((shared / "reference" / "efficientat-mn04-tags.json").read_text())["clips"]
    assert len(said) == 20
    for clip in said:
        waveform = audio.read(shared / "data" / clip["audio"])
        samples = torchaudio.functional.resample(torch.from_numpy(waveform.samples), waveform.rate, 32_000)
        window = torch.nn.functional.pad(samples[:160_000], (0, max(0, 160_000 - len(samples))))
        with torch.inference_mode():
            logits = encoder.classify(window[None])[0]
        top = logits.topk(5)
        assert [classes[index] for index in top.indices] == [name for name, _ in clip["top5"]], clip["audio"]
        np.testing.assert_allclose(top.values, [logit for _, logit in clip["top5"]], atol=2e-3)


def test_a_tower_is_a_checkpoint_that_says_it_is_untrained(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "weights" / "efficientat_mn04_as.pt"
    imported = read("efficientat", source)
    imported.write(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.model.embed_audio(torch.zeros(1, 160_000)).shape == (1, checkpoint.config.joint_dim)
    assert checkpoint.model.embed_text(checkpoint.tokenizer(["rain"])).shape == (1, checkpoint.config.joint_dim)
    assert "untrained" in str(checkpoint.config.training)
    assert "untrained" in (tmp_path / "out" / "README.md").read_text()
    read("efficientat", source).write(tmp_path / "again")
    assert load_checkpoint(tmp_path / "again").fingerprint == checkpoint.fingerprint


@pytest.mark.slow
def test_panns_weights_come_out_as_they_went_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    front_end = FrontEndConfig(sample_rate=16_000, n_fft=512, window_length=512, hop_length=160)
    encoder = Cnn14(Cnn14Config(), LogMel(front_end)).eval()
    state = {**encoder.state_dict(), **fourier_kernels("spectrogram_extractor.", 512)}
    torch.save({"iteration": 1, "model": state}, tmp_path / "Cnn14_16k.pth")
    imported = read("panns", tmp_path / "Cnn14_16k.pth")
    assert imported.model.config.front_end == front_end
    assert "50-8000 Hz" in imported.notes[0]
    for key, value in encoder.state_dict().items():
        assert torch.equal(imported.model.audio_encoder.base.state_dict()[key], value), key
    del state["bn0.running_var"]
    torch.save({"model": state}, tmp_path / "Cnn14_16k.pth")
    with pytest.raises(CheckpointError, match=r"lacks bn0\.running_var"):
        read("panns", tmp_path / "Cnn14_16k.pth")
