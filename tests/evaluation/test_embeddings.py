"""Every clip is embedded once and only once, whatever happens to its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.embeddings import TooFewRead, encode, load
from evaluation.encoder import Encoder
from evaluation.store import Store
from evaluation.task import Clip
from model.checkpoint import Checkpoint
from model.embed import clip_windows, embed_windows
from model.windows import Samples


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Noise of many colours and lengths, from a quarter of a window to nearly four."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(30):
        noise = rng.standard_normal(int(rng.integers(2_000, 30_000)))
        samples = noise.cumsum() if number % 3 else noise
        soundfile.write(tmp_path / f"{number}.wav", samples / np.abs(samples).max(), 8_000)
        found.append(Clip(tmp_path / f"{number}.wav", (("music", "speech")[number % 2],)))
    return found


def test_an_embedding_is_the_service_s_own(
    clips: list[Clip], checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    encoded = encode(encoder, clips, store)
    for row in (0, 7, 29):
        windows = embed_windows(checkpoint, clip_windows(clips[row].path, checkpoint)[0])
        mean = windows.mean(axis=0)
        np.testing.assert_allclose(encoded.joint[row], mean / np.linalg.norm(mean), atol=1e-5)
    assert encoded.clips == tuple(clips)
    assert encoded.features.shape == (30, checkpoint.model.audio_encoder.base.embedding_dim)


def test_a_clip_that_cannot_be_read_is_named_and_costs_itself_alone(
    clips: list[Clip], encoder: Encoder, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken = [Clip(tmp_path / "broken.wav", ("music",)), Clip(tmp_path / "gone.wav", ("music",))]
    encoded = encode(encoder, [*clips[:5], *broken, *clips[5:]], store)
    assert encoded.clips == tuple(clips)
    assert [line.split(":")[0] for line in encoded.unreadable] == ["broken.wav", "gone.wav"]
    assert "No such file" in encoded.unreadable[1]


def test_a_figure_over_less_than_half_of_the_clips_would_mislead(
    clips: list[Clip], encoder: Encoder, store: Store
) -> None:
    for clip in clips[:16]:
        clip.path.write_bytes(b"")
    with pytest.raises(TooFewRead, match=r"16 of 30 clips can't be read; the first: 0\.wav: "):
        encode(encoder, clips, store)


def test_what_was_embedded_is_not_embedded_again(
    clips: list[Clip], encoder: Encoder, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with Store(tmp_path / "cache", checkpoint.fingerprint, "fp32") as store:
        first = encode(encoder, clips, store)
    with Store(tmp_path / "cache", checkpoint.fingerprint, "fp32") as store:
        again = encode(encoder, clips, store)
    assert (first.computed, again.computed) == (30, 0)
    np.testing.assert_array_equal(first.joint, again.joint)
    np.testing.assert_array_equal(first.features, again.features)


def test_a_changed_file_is_embedded_anew_and_a_renamed_one_is_not(
    clips: list[Clip], encoder: Encoder, store: Store
) -> None:
    encode(encoder, clips, store)
    soundfile.write(clips[3].path, np.random.default_rng(9).uniform(-1, 1, 9_000), 8_000)
    moved = clips[4].path.rename(clips[4].path.with_name("moved.wav"))
    again = encode(encoder, [*clips[:4], replace(clips[4], path=moved)], store)
    assert again.computed == 1


def test_another_checkpoint_s_embeddings_are_not_taken(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with Store(tmp_path, checkpoint.fingerprint, "fp32") as store:
        store.add([(b"clip", np.ones(4, np.float32))])
    for fingerprint, precision in (("0" * 64, "fp32"), (checkpoint.fingerprint, "bf16")):
        with Store(tmp_path, fingerprint, precision) as store:
            assert store.digests() == set()
            with pytest.raises(KeyError):
                store.get(b"clip")


class Stopped(BaseException):
    pass


def test_a_stopped_run_goes_on_where_it_was(
    clips: list[Clip], encoder: Encoder, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = encoder.forward
    batches: Iterator[int] = iter(range(1_000))

    def forward_until_stopped(windows: Samples, precision: str) -> tuple[object, object]:
        if next(batches) == 5:
            raise Stopped
        return forward(windows, "fp32")

    monkeypatch.setattr(encoder, "forward", forward_until_stopped)
    with Store(tmp_path / "cache", checkpoint.fingerprint, "fp32") as store, pytest.raises(Stopped):
        encode(encoder, clips, store)
    monkeypatch.undo()
    with Store(tmp_path / "cache", checkpoint.fingerprint, "fp32") as store:
        kept = len(store.digests())
        assert 0 < kept < 30
        assert encode(encoder, clips, store).computed == 30 - kept


def test_the_same_recording_under_two_names_is_embedded_once(clips: list[Clip], encoder: Encoder, store: Store) -> None:
    twin = clips[0].path.with_name("twin.wav")
    twin.write_bytes(clips[0].path.read_bytes())
    encoded = encode(encoder, [clips[0], replace(clips[0], path=twin)], store)
    assert encoded.computed == 1
    np.testing.assert_array_equal(encoded.joint[0], encoded.joint[1])


def test_a_part_of_a_recording_is_its_own_clip(
    tmp_path: Path, checkpoint: Checkpoint, encoder: Encoder, store: Store
) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 24_000)
    samples[12_000:] = np.sin(np.arange(12_000) / 3)
    soundfile.write(tmp_path / "whole.wav", samples, 8_000, subtype="DOUBLE")
    soundfile.write(tmp_path / "part.wav", samples[4_000:12_000], 8_000, subtype="DOUBLE")
    whole = Clip(tmp_path / "whole.wav", ("silence",))
    part = Clip(tmp_path / "part.wav", ("silence",))
    encoded = encode(encoder, [whole, replace(whole, start_s=0.5, duration_s=1.0), part], store)
    np.testing.assert_allclose(encoded.joint[1], encoded.joint[2], atol=1e-6)
    assert np.abs(encoded.joint[0] - encoded.joint[1]).max() > 1e-4


def test_a_known_clip_is_not_even_decoded(clips: list[Clip], checkpoint: Checkpoint) -> None:
    front_end = checkpoint.config.front_end
    digest = load(clips[0], front_end, set()).digest
    assert load(clips[0], front_end, {digest}).windows is None


def test_the_chosen_ones_keep_their_own_vectors(clips: list[Clip], encoder: Encoder, store: Store) -> None:
    encoded = encode(encoder, clips, store)
    some = encoded.of(clips[10:20])
    assert some.clips == tuple(clips[10:20])
    np.testing.assert_array_equal(some.joint, encoded.joint[10:20])


def test_many_lanes_give_what_one_gives_and_embed_nothing_twice(
    clips: list[Clip], encoder: Encoder, checkpoint: Checkpoint, store: Store
) -> None:
    expected = encode(encoder, clips, store)
    encoder.lanes = 3
    with Store(None, checkpoint.fingerprint, "fp32") as other:
        found = encode(encoder, [*clips, *clips], other)
    assert found.computed == 30
    assert found.digests == expected.digests * 2
    np.testing.assert_allclose(found.joint, np.concatenate([expected.joint] * 2), atol=1e-6)
