"""Writes data/: embedding files as torch 2.11 makes them of what other trainers save, and picture carriers written with
zlib and base64 alone. Run with torch and safetensors in the environment."""

import base64
import json
import pathlib
import struct
import zlib

import torch
from safetensors.torch import save_file

data = pathlib.Path(__file__).parent / "data"
data.mkdir(exist_ok=True)
rows = torch.tensor([[0.5, -1.25, 2.0], [3.0, -4.0, 5.5]])
rows_g = torch.tensor([[1.5, 0.25, -2.0, 8.0], [7.0, -6.5, 0.125, 1.0]])


def a1111(tensor, step):
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": tensor},
        "name": "zesko",
        "step": step,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


# The web UI saves the tensor it optimises, with its gradient flag.
torch.save(a1111(rows.clone().requires_grad_(), 300), data / "a1111_parameter.pt")
# A slice of a larger table keeps the whole table and starts inside it.
table = torch.zeros(5, 3, dtype=torch.float16)
table[2:4] = rows.half()
torch.save(a1111(table[2:4], 7), data / "a1111_half_slice.pt")
# The original trainer saves a ParameterDict.
torch.save(
    {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(rows.clone())})},
    data / "original_parameter_dict.pt",
)
# The diffusers script saves one tensor under the word.
torch.save({"<zesko>": rows.bfloat16()}, data / "diffusers_bfloat16.bin")
# A bare tensor, which diffusers loads under a token that is given.
torch.save(rows.double(), data / "bare_double.bin")
# kohya's and OneTrainer's keys; SDXL in both containers, as an ordinary dictionary of torch tensors.
torch.save({"emb_params": rows}, data / "kohya_torch.pt")
save_file({"emp_params": rows.half()}, data / "onetrainer_half.safetensors", metadata={"other": "text"})
save_file({"clip_g": rows_g, "clip_l": rows.bfloat16()}, data / "sdxl_mixed.safetensors")
torch.save({"clip_g": rows_g, "clip_l": rows}, data / "sdxl_torch.pt")


# Carriers, from the description of the format; nothing here is shared with the C++ code.
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels, texts=()):
    """pixels: rows of (r, g, b)."""
    head = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)
    raw = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in pixels)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    for keyword, text in texts:
        body += chunk(b"tEXt", keyword + b"\0" + text)
    return body + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def whitening():
    state = 0
    while True:
        state = (1664525 * state + 1013904223) % 2**32
        yield (state % 255) & 15


def block(halves, height, pad_zero):
    length = len(halves)
    padded = length + (height - length % height)
    padded += 3 * height - padded % (3 * height)
    fill = [0] * (padded - length) if pad_zero else [halves[i % length] for i in range(padded - length)]
    values = [half ^ noise for half, noise in zip(halves + fill, whitening())]
    values = [value | ((i * 37 % 15 + 1) << 4) for i, value in enumerate(values)]
    pixels = [tuple(values[i : i + 3]) for i in range(0, padded, 3)]
    width = padded // (3 * height)
    return [pixels[y * width : (y + 1) * width] for y in range(height)]


def carrier(text, height, width, pad_zero):
    packed = zlib.compress(text.encode(), 9)
    low = block([byte & 15 for byte in packed], height, pad_zero)
    high = block([byte >> 4 for byte in packed], height, pad_zero)
    black = [(0, 0, 0)]
    photo = lambda y: [((x * 5 + y) % 256, (y * 7) % 256, (x * y) % 256) for x in range(width)]
    return [low[y] + black + photo(y) + black + high[y] for y in range(height)]


def dictionary(values):
    return json.dumps(
        {
            "string_to_token": {"*": 265},
            "string_to_param": {"*": {"TORCHTENSOR": values}},
            "name": "zesko",
            "step": 12,
            "sd_checkpoint": "0123456789",
            "sd_checkpoint_name": "model",
        }
    )


good = dictionary(rows.tolist())
other = dictionary([[9.0, 9.0, 9.0]])
encoded = lambda text: (b"sd-ti-embedding", base64.b64encode(text.encode()))
(data / "carrier_pixels_zero_padded.png").write_bytes(png(carrier(good, 32, 20, True)))
(data / "carrier_pixels_repeated.png").write_bytes(png(carrier(good, 47, 11, False)))
# The text comes first: the pixels of this one say something else.
(data / "carrier_text.png").write_bytes(png(carrier(other, 32, 20, True), [(b"parameters", b"x"), encoded(good)]))
plain = [[(x, y, 7) for x in range(24)] for y in range(24)]
(data / "just_a_picture.png").write_bytes(png(plain))
(data / "carrier_nan.png").write_bytes(png(plain, [encoded(dictionary([[0.5, 1.0, 2.0], [3.0, float("nan"), 5.0]]))]))
