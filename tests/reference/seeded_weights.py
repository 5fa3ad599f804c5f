"""Random weights that any language can make again: a fully specified generator keyed by seed and tensor name.

    h        = FNV-1a 64 of the UTF-8 bytes of the tensor's name (offset 14695981039346656037, prime 1099511628211)
    key      = splitmix64(seed XOR h)
    bits(i)  = splitmix64(key + i * 0x9E3779B97F4A7C15)  for element i of the row-major tensor, all modulo 2^64
    u(i)     = (bits(i) >> 40) - 2^23                    a 24-bit integer in [-2^23, 2^23)
    value(i) = float32(u(i)) * float32(scale * sqrt(3) / 2^23), and then float32(offset) is added: two roundings

where splitmix64(z) is the finaliser z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB;
z ^= z >> 31. Values are uniform with standard deviation `scale` around `offset`. Scale and offset follow from the name
and the shape, first match wins:

    ends in ".bias"                                              scale 0.02
    one dimension, ends in ".weight" (norms)                     scale 0.1, offset 1
    ends in "token_embedding.weight"                             scale 0.05 (0.4 for width below 256)
    ends in "position_embedding.weight"                          scale 0.02 (0.1 for width below 256)
    anything else                                                scale gain / sqrt(elements / size of dimension 0)

`gain` is 1, but 0.5 for the last layer of a residual branch ("conv2.weight", "to_out.0.weight", "out_proj.weight",
"fc2.weight", "ff.net.2.weight", "proj_out.weight"), which keeps activations of deep models near 1.
"""

import math

import numpy as np
import torch

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
RESIDUAL_ENDS = ("conv2.weight", "to_out.0.weight", "out_proj.weight", "fc2.weight", "ff.net.2.weight",
                 "proj_out.weight")
CHUNK = 1 << 22


def fnv1a64(text: str) -> int:
    """FNV-1a, 64 bits, of the UTF-8 bytes."""
    value = 14695981039346656037
    for byte in text.encode():
        value = ((value ^ byte) * 1099511628211) & MASK
    return value


def splitmix64(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 on uint64 arrays."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def scale_and_offset(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """The rule in the module's documentation."""
    if name.endswith(".bias"):
        return 0.02, 0.0
    if len(shape) == 1:
        return 0.1, 1.0
    if name.endswith("token_embedding.weight"):
        return (0.4 if shape[1] < 256 else 0.05), 0.0
    if name.endswith("position_embedding.weight"):
        return (0.1 if shape[1] < 256 else 0.02), 0.0
    gain = 0.5 if name.endswith(RESIDUAL_ENDS) else 1.0
    return gain / math.sqrt(math.prod(shape) / shape[0]), 0.0


def uniform(name: str, shape: tuple[int, ...], seed: int, scale: float, offset: float = 0.0) -> np.ndarray:
    """float32 values of the given standard deviation around `offset`."""
    count = math.prod(shape)
    values = np.empty(count, np.float32)
    factor, shift = np.float32(scale * math.sqrt(3) / 2**23), np.float32(offset)
    with np.errstate(over="ignore"):
        key = splitmix64(np.array([seed ^ fnv1a64(name)], np.uint64))
        for begin in range(0, count, CHUNK):
            index = np.arange(begin, min(begin + CHUNK, count), dtype=np.uint64)
            bits = splitmix64(key + index * np.uint64(GOLDEN)) >> np.uint64(40)
            values[begin:begin + len(index)] = (bits.astype(np.int32) - 2**23).astype(np.float32) * factor + shift
    return values.reshape(shape)


@torch.no_grad()
def fill(module: torch.nn.Module, prefix: str, seed: int):
    """Overwrites every parameter of `module`; the name hashed is prefix + "." + the parameter's own name."""
    for name, parameter in module.named_parameters():
        shape = tuple(parameter.shape)
        parameter.copy_(torch.from_numpy(uniform(f"{prefix}.{name}", shape, seed, *scale_and_offset(name, shape))))
