"""A device that does not exist is named in an error, never replaced silently."""

from __future__ import annotations

import pytest
import torch

from model.devices import DeviceError, find_device

GPUS = torch.cuda.device_count()


def test_the_default_is_the_gpu_where_there_is_one() -> None:
    assert find_device(None) == find_device("auto") == torch.device("cuda" if GPUS else "cpu")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "CUDA", "cuda:-1", "tpu", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"unknown device {name}; known are auto, cpu, cuda and cuda:N"):
        find_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=f"there are {GPUS} GPUs" if GPUS else "finds no GPU or no driver"):
        find_device(f"cuda:{GPUS}")
