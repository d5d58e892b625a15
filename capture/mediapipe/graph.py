"""A TensorFlow Lite network as PyTorch runs it: batched, and on a GPU where there is one.

MediaPipe's two networks consist of a dozen kinds of operations. They are read from the network's own file, with its
weights, and run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import ModelError

_VALID = 1
"""TensorFlow Lite's number for padding with nothing; 0 is padding to the same size."""
_ACTIVATIONS: Mapping[int, Callable[[Tensor], Tensor]] = {0: lambda x: x, 1: F.relu, 3: F.relu6}
_FLOAT32, _FLOAT16, _INT32 = 0, 1, 2
_TYPES = {_FLOAT32: "<f4", _FLOAT16: "<f2", _INT32: "<i4"}


@dataclass(frozen=True)
class Operation:
    """One step: what it is, of which tensors it makes which."""

    run: Callable[..., Tensor]
    inputs: Sequence[int]
    output: int


class Network(nn.Module):
    """The network of a file. Images are (image, height, width, channel), as in the file, with any number of images."""

    def __init__(self, content: bytes, name: str) -> None:
        """Read it; nothing in it is executed.

        Raises:
            ModelError: not such a file, or it has operations that are not known here.
        """
        super().__init__()
        try:
            graph = _unpacked(content)
            self._read(graph)
        except ModelError:
            raise
        except Exception as error:  # What is no such file makes the reader fail in any place.
            raise ModelError(f"{name}: expected a TensorFlow Lite network, but it cannot be read ({error}).") from error

    def _read(self, graph: Any) -> None:
        tensors, (self._input,) = graph.tensors, graph.inputs
        self.shape: tuple[int, ...] = tuple(int(n) for n in tensors[self._input].shape[1:])
        """(height, width, channel)"""
        self._outputs: dict[str, int] = {tensors[at].name.decode(): int(at) for at in graph.outputs}
        constants = {at: values for at, values in enumerate(graph.constants) if values is not None}
        self._operations: list[Operation] = []
        for kind, each in zip(graph.kinds, graph.operators, strict=True):
            inputs, (output,) = [int(at) for at in each.inputs if at >= 0], each.outputs
            if kind == "DEQUANTIZE" and inputs[0] in constants:
                constants[int(output)] = constants[inputs[0]].astype(np.float32)
                continue
            make = _MAKE.get(kind)
            if make is None:
                raise ModelError(f"expected operations of MediaPipe's hand networks, but found {kind}.")
            fixed = [constants.get(at) for at in inputs[1:]]
            run, weights = make(each.builtinOptions, fixed, tensors[int(output)].shape)
            names = [f"w{len(self._operations)}_{n}" for n in range(len(weights))]
            for key, value in zip(names, weights, strict=True):
                self.register_buffer(key, torch.from_numpy(np.ascontiguousarray(value)), persistent=False)
            given = [at for at in inputs if at not in constants]
            self._operations.append(Operation(partial(_call, run, names), given, int(output)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Every output by its name, for (image, height, width, channel) float32."""
        found = {self._input: images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)}
        for each in self._operations:
            found[each.output] = each.run(self, *(found[at] for at in each.inputs))
        return {name: _plain(found[at]) for name, at in self._outputs.items()}


def _call(run: Callable[..., Tensor], names: Sequence[str], network: Network, *inputs: Tensor) -> Tensor:
    return run(*inputs, *(getattr(network, name) for name in names))


def _plain(x: Tensor) -> Tensor:
    """With the axes in the file's order: images are (image, channel, height, width) in between."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


@dataclass(frozen=True)
class _Graph:
    kinds: Sequence[str]
    operators: Sequence[Any]
    tensors: Sequence[Any]
    constants: Sequence[np.ndarray | None]
    inputs: Sequence[int]
    outputs: Sequence[int]


def _unpacked(content: bytes) -> _Graph:
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    graph = model.subgraphs[0]
    constants: list[np.ndarray | None] = []
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        kind = _TYPES.get(tensor.type)
        if kind is None or data is None or len(data) == 0:
            constants.append(None)
        else:
            constants.append(np.asarray(data, np.uint8).view(np.dtype(kind)).reshape(tensor.shape))
    named = [kinds[model.operatorCodes[each.opcodeIndex].builtinCode] for each in graph.operators]
    return _Graph(named, graph.operators, graph.tensors, constants, graph.inputs, graph.outputs)


# ---- operations: options, constant inputs and shape of the output -> (function, weights) --------------------------

_Made = tuple[Callable[..., Tensor], list[np.ndarray]]


def _convolution(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    weight, bias = fixed
    return _convolved(options, weight.transpose(0, 3, 1, 2), bias, 1)


def _depthwise(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    weight, bias = fixed
    return _convolved(options, weight.transpose(3, 0, 1, 2), bias, weight.shape[3])


def _convolved(options: Any, weight: np.ndarray, bias: np.ndarray, groups: int) -> _Made:
    activation = _ACTIVATIONS[options.fusedActivationFunction]
    stride, size = (options.strideH, options.strideW), weight.shape[2:]

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        x = x if options.padding == _VALID else _same(x, size, stride)
        return activation(F.conv2d(x, w, b, stride, groups=groups))

    return run, [weight, bias]


def _same(x: Tensor, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Padded as TensorFlow does it: the larger half after the image."""
    pads: list[int] = []
    for length, k, s in zip(x.shape[:1:-1], size[::-1], stride[::-1], strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


def _add(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    activation = _ACTIVATIONS[options.fusedActivationFunction]
    return (lambda x, y: activation(x + y)), []


def _prelu(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    return F.prelu, [fixed[0].ravel()]


def _pool(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    size, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    return (lambda x: F.max_pool2d(x, size, stride)), []


def _pad(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    _, rows, columns, channels = fixed[0].tolist()
    return (lambda x: F.pad(x, [*columns, *rows, *channels])), []


def _resize(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    if options.alignCorners or not options.halfPixelCenters:
        raise ModelError("expected images that are resized by the centres of their pixels, but found another way.")
    size = [int(n) for n in fixed[0]]
    return (lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False)), []


def _reshape(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    rest = [int(n) for n in shape[1:]]
    return (lambda x: _plain(x).reshape(len(x), *rest)), []


def _concatenate(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    if len(shape) != 3:
        raise ModelError("expected lists that are joined, but found images.")
    return (lambda *parts: torch.cat(parts, options.axis)), []


def _mean(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    if sorted(fixed[0].tolist()) != [1, 2]:
        raise ModelError("expected a mean over the image, but found another one.")
    return (lambda x: x.mean((2, 3), keepdim=bool(options.keepDims))), []


def _connected(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    activation = _ACTIVATIONS[options.fusedActivationFunction]
    return (lambda x, w, b: activation(F.linear(x.flatten(1), w, b))), list(fixed)


def _logistic(options: Any, fixed: Sequence[Any], shape: Any) -> _Made:
    return torch.sigmoid, []


_MAKE: Mapping[str, Callable[[Any, Sequence[Any], Any], _Made]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "ADD": _add,
    "PRELU": _prelu,
    "MAX_POOL_2D": _pool,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize,
    "RESHAPE": _reshape,
    "CONCATENATION": _concatenate,
    "MEAN": _mean,
    "FULLY_CONNECTED": _connected,
    "LOGISTIC": _logistic,
}
