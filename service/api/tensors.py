"""Tensors of the Open Inference Protocol (REST, version 2), in JSON and in its binary extension.

https://github.com/kserve/open-inference-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import invalid

LENGTH = struct.Struct("<I")
"""In the binary form, each element of a BYTES tensor follows its length."""
MAX_DIMENSIONS = 8

Output = npt.NDArray[np.float32] | Sequence[str]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TensorParameters(BaseModel):
    """Parameters of an input or an output; the others that the protocol allows have no effect."""

    binary_data_size: int | None = Field(None, ge=0)
    binary_data: bool | None = None


class TensorIn(Closed):
    """An input tensor. Its elements are in `data`, or in the bytes after the JSON."""

    name: str
    shape: list[int] = Field(max_length=MAX_DIMENSIONS)
    datatype: str
    data: list[Any] | None = None
    parameters: TensorParameters = TensorParameters()


class TensorWanted(Closed):
    """An output tensor that the client asks for."""

    name: Literal["scores", "similarity", "labels"]
    parameters: TensorParameters = TensorParameters()


class InferParameters(Closed):
    """The fields of a request that are no tensors."""

    template: str | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    label_set: str | None = None
    binary_data_output: bool = False


class InferIn(Closed):
    """The JSON of an inference request."""

    id: str | None = Field(None, max_length=1_000)
    model_name: str | None = Field(None, description="As KServe's client sends it; the path names the model.")
    inputs: list[TensorIn] = Field(min_length=1)
    outputs: list[TensorWanted] = Field(default_factory=list)
    parameters: InferParameters = InferParameters()


def read_inputs(tensors: Sequence[TensorIn], raw: memoryview, limits: dict[str, int]) -> dict[str, list[bytes | str]]:
    """The elements of each BYTES tensor by its name: text from JSON, bytes from `raw`, which holds all binary ones.

    `limits` has the largest number of elements of each tensor that may come. Raises Problem.
    """
    read: dict[str, list[bytes | str]] = {}
    for tensor in tensors:
        place = f"inputs.{tensor.name[:100]}"
        if tensor.name not in limits or tensor.name in read:
            raise invalid(f"{place}: the inputs are {' and '.join(limits)}, each once at most")
        if tensor.datatype != "BYTES":
            raise invalid(f"{place}: the datatype is BYTES, not {tensor.datatype[:100]}")
        count = math.prod(tensor.shape) if all(size >= 0 for size in tensor.shape) else -1
        if not 1 <= count <= limits[tensor.name]:
            raise invalid(f"{place}: a shape of {count} elements, 1 to {limits[tensor.name]} are taken")
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            raise invalid(f"{place}: either data or parameters.binary_data_size is needed")
        if size is None:
            found: list[bytes | str] = list(texts(tensor.data or [], place, len(tensor.shape)))
            tensor.data = None  # the request is kept until it is answered
        elif size > len(raw):
            raise invalid(f"{place}: {len(raw)} bytes follow for it, binary_data_size is {size}")
        else:
            found, raw = list(elements(raw[:size], count, place)), raw[size:]
        if len(found) != count:
            raise invalid(f"{place}: {len(found)} elements, the shape has {count}")
        read[tensor.name] = found
    if raw:
        raise invalid(f"{len(raw)} bytes follow the last tensor")
    return read


def texts(data: list[Any], place: str, dimensions: int) -> Iterator[str]:
    """The strings in `data`, which may be nested as deep as the shape is. Raises Problem for anything else."""
    for item in data:
        if isinstance(item, list) and dimensions > 1:
            yield from texts(item, place, dimensions - 1)
        elif isinstance(item, str):
            yield item
        else:
            raise invalid(f"{place}: the elements are strings (base64, where they are recordings)")


def elements(raw: memoryview, count: int, place: str) -> Iterator[bytes]:
    """Up to `count` elements that fill `raw`. Raises Problem if they do not."""
    at = 0
    for _ in range(count):
        end = at + LENGTH.size
        if end > len(raw) or (end := end + LENGTH.unpack_from(raw, at)[0]) > len(raw):
            raise invalid(f"{place}: its binary data ends within an element")
        yield bytes(raw[at + LENGTH.size : end])
        at = end
    if at < len(raw):
        raise invalid(f"{place}: its binary data has more than {count} elements")


def write_outputs(document: dict[str, Any], asked: InferIn, outputs: dict[str, Output]) -> tuple[bytes, int | None]:
    """The answer with the outputs that were asked for, or `scores`, and the length of its JSON if bytes follow it."""
    tensors, parts = [], []
    for wanted in asked.outputs or [TensorWanted(name="scores")]:
        values = outputs[wanted.name]
        binary = wanted.parameters.binary_data
        if binary is None:
            binary = asked.parameters.binary_data_output
        numbers = isinstance(values, np.ndarray)
        tensor: dict[str, Any] = {
            "name": wanted.name,
            "datatype": "FP32" if numbers else "BYTES",
            "shape": list(np.shape(values)),
        }
        if binary:
            part = values.astype("<f4").tobytes() if isinstance(values, np.ndarray) else b"".join(map(counted, values))
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
        tensors.append(tensor)
    header = msgspec.json.encode({**document, "outputs": tensors})
    return b"".join([header, *parts]), len(header) if parts else None


def counted(text: str) -> bytes:
    """An element of a BYTES tensor in the binary form."""
    data = text.encode()
    return LENGTH.pack(len(data)) + data
