"""Writes tests/golden/resize.txt: what Pillow's bicubic resize makes of pictures that C++ can make again.

Each line: input width, input height, output width, output height, SHA-256 of the output's RGB bytes. The input's bytes are
the high bytes of a linear congruential generator, x = x * 1664525 + 1013904223 mod 2^32, beginning with x = width * 65536 +
height, one step a byte; so edges and clipping are met everywhere. Newer Pillows resize the columns first where that is
cheaper; these sizes are squares, and others where every version does the rows first.

    python3 tests/reference/make_resize.py > tests/golden/resize.txt
"""
import hashlib

import PIL
from PIL import Image

SIZES = [(1, 1, 1, 1), (1, 1, 7, 5), (7, 5, 1, 1), (8, 8, 8, 8), (8, 8, 16, 16), (16, 16, 8, 8), (17, 17, 64, 64), (100, 100, 64, 64),
         (640, 480, 512, 512), (333, 77, 77, 333), (64, 48, 64, 16), (48, 64, 16, 64), (1023, 1023, 32, 32)]


def noise(width, height):
    x = width * 65536 + height
    out = bytearray()
    for _ in range(width * height * 3):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(x >> 24)
    return bytes(out)


print(f"# tests/reference/make_resize.py, Pillow {PIL.__version__}")
for in_width, in_height, width, height in SIZES:
    image = Image.frombytes("RGB", (in_width, in_height), noise(in_width, in_height))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    print(in_width, in_height, width, height, hashlib.sha256(resized.tobytes()).hexdigest())
