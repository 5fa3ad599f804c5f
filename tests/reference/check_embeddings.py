"""Checks `neolog embedding` against independent readers and writers of every format. Prints the figures; exit 1 on any
difference.

    python check_embeddings.py --neolog build/release/bin/neolog

Every source file is written with torch, safetensors, or numpy and Pillow alone, in every dtype that trainers save, then
converted to every format that fits it, and each result once more to every other. Each file that Neolog wrote is read with
torch.load(weights_only=True), safetensors, Pillow (text and pixels by themselves), and, where diffusers reads the format,
by diffusers' own loading functions. Values are compared bit for bit as float32.
"""

import argparse
import base64
import collections
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile
import zlib

import numpy as np
import safetensors.torch
import torch
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin, load_textual_inversion_state_dicts
from PIL import Image, PngImagePlugin

ONE = [("a1111", ".pt"), ("a1111", ".bin"), ("png", ".png")] + [
    (name, ext) for name in ("diffusers", "kohya", "onetrainer") for ext in (".safetensors", ".pt", ".bin")
]
TWO = [(name, ext) for name in ("sdxl", "onetrainer") for ext in (".safetensors", ".pt", ".bin")]
ALL_FORMATS = ("a1111", "png", "diffusers", "kohya", "sdxl", "onetrainer")
KEYS = {"kohya": "emb_params", "onetrainer": "emp_params"}


# ---- the picture carrier, from the description of the format ----


def whitening(count: int) -> np.ndarray:
    out, state = np.empty(count, np.uint8), 0
    for i in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        out[i] = (state % 255) & 15
    return out


def write_pixels(text: str, width: int, height: int, zero_pad: bool) -> np.ndarray:
    packed = np.frombuffer(zlib.compress(text.encode(), 9), np.uint8)

    def block(halves: np.ndarray) -> np.ndarray:
        length = len(halves)
        padded = length + (height - length % height)
        padded += 3 * height - padded % (3 * height)
        fill = np.zeros(padded - length, np.uint8) if zero_pad else np.resize(halves, padded - length)
        values = np.concatenate([halves, fill]) ^ whitening(padded)
        pattern = (np.arange(padded) * 29 % 15 + 1).astype(np.uint8) << 4
        return (values | pattern).reshape(height, -1, 3)

    rng = np.random.default_rng(5)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    black = np.zeros((height, 1, 3), np.uint8)
    return np.concatenate([block(packed & 15), black, photo, black, block(packed >> 4)], axis=1)


def read_pixels(image: Image.Image) -> str:
    low_bits = np.array(image.convert("RGB")) & 15
    black = np.flatnonzero(low_bits.sum(axis=(0, 2)) == 0)
    left, right = low_bits[:, : black.min()], low_bits[:, black.max() + 1 :]
    assert left.shape == right.shape, "blocks of different size"
    low, high = (part.reshape(-1) ^ whitening(part.size) for part in (left, right))
    return zlib.decompressobj().decompress((low | high << 4).astype(np.uint8).tobytes()).decode()


def dictionary_json(rows: torch.Tensor) -> str:
    return json.dumps(a1111_dict({"TORCHTENSOR": rows.to(torch.float32).tolist()}))


# ---- sources: (name, extension, writer) ----


def a1111_dict(tensor) -> dict:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": tensor},
        "name": "zesko",
        "step": 1234,
        "sd_checkpoint": "0123456789",
        "sd_checkpoint_name": "modell-ä",
    }


def save_png(path, rows, text: bool, pixels: bool, mode="RGB", zero_pad=False):
    data = dictionary_json(rows)
    canvas = write_pixels(data if pixels else "{}", 96, 128, zero_pad)
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text("sd-ti-embedding", base64.b64encode(data.encode()).decode())
    Image.fromarray(canvas).convert(mode).save(path, pnginfo=info)


def one_encoder_sources(rows: torch.Tensor):
    st, save = safetensors.torch.save_file, torch.save
    table = torch.zeros(rows.shape[0] + 7, rows.shape[1], dtype=rows.dtype)
    table[3 : 3 + rows.shape[0]] = rows
    yield "a1111", ".pt", lambda p: save(a1111_dict(rows), p)
    yield "a1111_parameter", ".pt", lambda p: save(a1111_dict(torch.nn.Parameter(rows.clone())), p)
    yield "a1111_slice", ".pt", lambda p: save(a1111_dict(table[3 : 3 + rows.shape[0]]), p)
    yield "a1111_transposed", ".pt", lambda p: save(a1111_dict(rows.t().contiguous().t()), p)
    yield "original", ".pt", lambda p: save(
        {
            "string_to_token": {"*": torch.tensor(265)},
            "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(rows.clone())}),
        },
        p,
    )
    yield "diffusers", ".safetensors", lambda p: st({"<zesko>": rows}, p)
    yield "diffusers", ".bin", lambda p: save({"<zesko>": rows}, p)
    yield "bare", ".bin", lambda p: save(rows, p)
    yield "kohya", ".safetensors", lambda p: st({"emb_params": rows}, p, metadata={"ss_steps": "5"})
    yield "kohya", ".pt", lambda p: save({"emb_params": rows}, p)
    yield "onetrainer", ".safetensors", lambda p: st({"emp_params": rows}, p)
    yield "onetrainer", ".pt", lambda p: save({"emp_params": rows}, p)
    if rows.shape[0] == 1:
        yield "diffusers_1d", ".safetensors", lambda p: st({"<zesko>": rows[0].contiguous()}, p)
        yield "diffusers_1d", ".bin", lambda p: save({"<zesko>": rows[0]}, p)
    yield "png_text", ".png", lambda p: save_png(p, rows, True, False)
    yield "png_pixels", ".png", lambda p: save_png(p, rows, False, True)
    yield "png_pixels_zero_padded", ".png", lambda p: save_png(p, rows, False, True, zero_pad=True)
    yield "png_both_rgba", ".png", lambda p: save_png(p, rows, False, True, mode="RGBA")


def two_encoder_sources(clip_l: torch.Tensor, clip_g: torch.Tensor):
    tensors = {"clip_l": clip_l, "clip_g": clip_g}
    yield "sdxl", ".safetensors", lambda p: safetensors.torch.save_file(tensors, p)
    yield "sdxl", ".pt", lambda p: torch.save(tensors, p)
    yield "sdxl_ordered_dict", ".bin", lambda p: torch.save(collections.OrderedDict(reversed(tensors.items())), p)


# ---- reading what Neolog wrote ----


class NoVocabulary:
    def get_vocab(self):
        return {}


def read_with_diffusers(path: pathlib.Path) -> tuple[str, torch.Tensor]:
    dicts = load_textual_inversion_state_dicts([str(path)])
    tokens, embeddings = TextualInversionLoaderMixin._retrieve_tokens_and_embeddings([None], dicts, NoVocabulary())
    return tokens[0], embeddings[0]


def load_dict(path: pathlib.Path) -> dict:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, weights_only=True)


def tensors_of_json(text: str) -> tuple[dict, torch.Tensor]:
    data = json.loads(text)
    lists = data["string_to_param"]["*"]["TORCHTENSOR"]
    return data, torch.tensor(np.array(lists, np.float64).astype(np.float32))


def read_output(path: pathlib.Path, target: str, name: str, counts) -> list[torch.Tensor]:
    """The tensors in the order of widths; raises when anything but the values is not as the format says."""
    if target == "png":
        image = Image.open(path)
        image.load()
        text = base64.b64decode(image.text["sd-ti-embedding"]).decode()
        assert read_pixels(image) == text, "text and pixels differ"
        data, rows = tensors_of_json(text)
        assert list(data) == list(a1111_dict(None)) and data["name"] == name, data["name"]
        counts["PNG text and pixels, read with Pillow"] += 1
        return [rows]
    data = load_dict(path)
    counts["safetensors" if path.suffix == ".safetensors" else "torch.load(weights_only=True)"] += 1
    if target == "a1111":
        assert list(data) == list(a1111_dict(None)) and data["name"] == name, list(data)
        members = {member.split("/", 1)[1] for member in zipfile.ZipFile(path).namelist()}
        assert members == {"data.pkl", "data/0", "version"}, members
        tensors = [data["string_to_param"]["*"]]
    elif set(data) == {"clip_l", "clip_g"}:
        assert target in ("sdxl", "onetrainer")
        return [data["clip_l"], data["clip_g"]]
    else:
        assert list(data) == [KEYS.get(target, name)], list(data)
        tensors = list(data.values())
    token, embedding = read_with_diffusers(path)
    assert token == KEYS.get(target, name) and torch.equal(embedding, tensors[0]), token
    counts["diffusers' own loading"] += 1
    return tensors


def same_bits(expected: list[torch.Tensor], found: list[torch.Tensor]) -> bool:
    return len(expected) == len(found) and all(
        f.dtype == torch.float32
        and f.dim() == 2
        and tuple(e.shape) == tuple(f.shape)
        and e.contiguous().numpy().tobytes() == f.detach().contiguous().numpy().tobytes()
        for e, f in zip(expected, found)
    )


# ---- the run ----


class Checker:
    def __init__(self, neolog: str, folder: pathlib.Path):
        self.neolog, self.folder = neolog, folder
        self.counts: collections.Counter = collections.Counter()
        self.problems: list[str] = []

    def run(self, *args) -> subprocess.CompletedProcess:
        return subprocess.run([self.neolog, "embedding", *map(str, args)], capture_output=True, text=True, check=False)

    def want(self, ok: bool, problem: str):
        if not ok:
            self.problems.append(problem)
            print("DIFFERS", problem, file=sys.stderr)

    def check_info(self, path, expected, what) -> dict:
        result = self.run("info", path, "--json")
        if result.returncode != 0:
            self.want(False, f"{what}: info: {result.stderr.strip()}")
            return {}
        info = json.loads(result.stdout)
        hashes = [hashlib.sha256(e.contiguous().numpy().tobytes()).hexdigest() for e in expected]
        self.want(info["sha256"] == (hashes if len(hashes) > 1 else hashes[0]), f"{what}: sha256")
        self.want(info["vectors"] == expected[0].shape[0], f"{what}: vectors")
        self.want(info["widths"] == [e.shape[1] for e in expected], f"{what}: widths")
        norms = [e.double().norm(dim=1).tolist() for e in expected]
        close = np.allclose(np.concatenate(norms), np.concatenate(info["norms"] if len(norms) > 1 else [info["norms"]]))
        self.want(bool(close), f"{what}: norms")
        self.counts["infos compared"] += 1
        return info

    def convert(self, source, target, extension, expected, what, name) -> pathlib.Path | None:
        out = self.folder / f"out-{target}{extension}"
        result = self.run("convert", source, out, "--format", target, "--force", *(["--name", name] if name else []))
        if result.returncode != 0:
            self.want(False, f"{what}: {result.stderr.strip()}")
            return None
        stored = self.run("info", source, "--json")
        name = name or json.loads(stored.stdout)["name"] or source.stem
        try:
            found = read_output(out, target, name, self.counts)
        except Exception as error:  # whatever an independent reader stumbles over is a finding
            self.want(False, f"{what}: {type(error).__name__}: {error}")
            return None
        same = same_bits(expected, found)
        self.want(same, f"{what}: other values")
        self.counts["conversions, bit for bit"] += same
        return out

    def check_source(self, label, extension, write, expected):
        source = self.folder / f"{label}{extension}"
        write(source)
        targets = TWO if len(expected) == 2 else ONE
        info = self.check_info(source, expected, source.name)
        if label.startswith(("a1111", "png")):
            stored = (info.get("name"), info.get("step"), info.get("checkpoint"))
            self.want(
                stored == ("zesko", 1234, {"hash": "0123456789", "name": "modell-ä"}), f"{source.name}: stored {stored}"
            )
        self.counts["source files"] += 1
        for target, ext in targets:
            self.convert(source, target, ext, expected, f"{source.name} -> {target}{ext}", None)
        for target in set(ALL_FORMATS) - {target for target, _ in targets}:
            extension = {"a1111": ".pt", "png": ".png"}.get(target, ".safetensors")
            out = self.folder / f"refused{extension}"
            result = self.run("convert", source, out, "--format", target)
            ok = result.returncode == 2 and len(result.stderr.splitlines()) == 1 and not out.exists()
            self.want(ok, f"{source.name} -> {target} is not refused")
            self.counts["misfits refused"] += 1
        source.unlink()

    def check_chains(self, expected, write):
        """Every format of Neolog's own to every other."""
        targets = TWO if len(expected) == 2 else ONE
        first = self.folder / "chain.safetensors"
        write(first)
        for target, ext in targets:
            out = self.convert(first, target, ext, expected, f"chain {target}{ext}", "zesko")
            if out is None:
                continue
            middle = out.rename(self.folder / f"middle{ext}")
            for again, again_ext in targets:
                what = f"chain {target}{ext} -> {again}{again_ext}"
                self.convert(middle, again, again_ext, expected, what, "zesko")

    def check_refused(self, label, extension, write, words):
        path = self.folder / f"{label}{extension}"
        write(path)
        for command in (("info", path), ("verify", path), ("convert", path, self.folder / "never.safetensors")):
            result = self.run(*command)
            lines = result.stderr.splitlines()
            ok = result.returncode == 2 and len(lines) == 1 and words in lines[0]
            self.want(ok, f"{label}: {command[0]}: {result.returncode} {result.stderr.strip()}")
        self.want(not (self.folder / "never.safetensors").exists(), f"{label} was written")
        self.counts["bad files refused"] += 1


def example_rows(vectors: int, width: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(vectors, width, generator=generator, dtype=torch.float64) * 0.05
    rows[0, :4] = torch.tensor([0.0, -0.0, 1e-40, 65504.0], dtype=torch.float64)
    rows = rows.to(dtype)
    if dtype == torch.float32:
        bits = torch.tensor([1, -2147483647, 2139095039, 8388608], dtype=torch.int32)  # subnormal, largest, ...
        rows[0, 4:8] = bits.view(torch.float32)
    return rows


def refused_files():
    st, save = safetensors.torch.save_file, torch.save
    rows = example_rows(2, 768, torch.float32, 1)
    wide = example_rows(2, 1280, torch.float32, 2)
    nan, inf = rows.clone(), wide.clone()
    nan[1, 5] = float("nan")
    inf[0, 1279] = float("-inf")
    layers = ["IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID"] + [f"OUT{i:02}" for i in range(3, 12)]
    xti = {key: rows.clone() for key in layers}
    yield "t5", ".safetensors", lambda p: st({"t5": torch.zeros(2, 4096)}, p), "T5 encoder"
    three = {"clip_l": rows, "clip_g": wide, "t5xxl": torch.zeros(2, 4096)}
    yield "sd3", ".safetensors", lambda p: st(three, p), "T5 encoder"
    yield "sd3", ".pt", lambda p: save(three, p), "T5 encoder"
    yield "xti", ".safetensors", lambda p: st(xti, p), "kohya XTI"
    yield "out", ".safetensors", lambda p: st({"emp_params": rows, "emp_params_out": rows.clone()}, p), "output embeddings"
    lora = {"lora_unet_a.lora_down.weight": rows, "lora_unet_a.lora_up.weight": wide, "lora_unet_a.alpha": torch.ones(1)}
    yield "lora", ".safetensors", lambda p: st(lora, p), "a LoRA"
    yield "cloneofsimo", ".safetensors", lambda p: st({"<s>": rows, "unet:0:lora_up": wide}, p), "a LoRA"
    model = {"model.diffusion_model.input_blocks.0.0.weight": wide, "first_stage_model.x": rows}
    yield "checkpoint", ".safetensors", lambda p: st(model, p), "checkpoint"
    yield "checkpoint", ".pt", lambda p: save({"state_dict": model, "epoch": 1}, p), "checkpoint"
    yield "encoder", ".safetensors", lambda p: st({"text_model.a": rows, "text_model.b": wide}, p), "checkpoint"
    yield "words", ".safetensors", lambda p: st({"<a>": rows, "<b>": rows.clone()}, p), "several words"
    two = {"string_to_token": {"a": 1, "b": 2}, "string_to_param": {"a": rows, "b": rows}, "name": "x", "step": 0}
    yield "words", ".pt", lambda p: save(two, p), "several words"
    yield "nan", ".safetensors", lambda p: st({"emb_params": nan}, p), "vector 1, element 5 is nan"
    yield "nan", ".pt", lambda p: save(a1111_dict(nan), p), "vector 1, element 5 is nan"
    yield "nan", ".png", lambda p: save_png(p, nan, True, False), "vector 1, element 5 is nan"
    yield "nan_pixels", ".png", lambda p: save_png(p, nan, False, True), "vector 1, element 5 is nan"
    yield "inf", ".safetensors", lambda p: st({"clip_l": rows, "clip_g": inf}, p), "vector 0, element 1279 of clip_g is -inf"
    yield "integer", ".safetensors", lambda p: st({"emb_params": rows.long()}, p), "no floating-point numbers"
    yield "integer", ".bin", lambda p: save({"<a>": rows.long()}, p), "no floating-point numbers"
    yield "empty_file", ".pt", lambda p: p.write_bytes(b""), "empty"
    yield "empty_tensor", ".safetensors", lambda p: st({"emb_params": rows[:0]}, p), "0 vectors"
    yield "empty_dict", ".bin", lambda p: save({}, p), "no tensor"
    yield "rank3", ".safetensors", lambda p: st({"emb_params": rows[None]}, p), "3 dimensions"
    yield "rank3", ".pt", lambda p: save({"<a>": rows[None]}, p), "3 dimensions"
    yield "unequal", ".safetensors", lambda p: st({"clip_l": rows, "clip_g": wide[:1].clone()}, p), "2 vectors and clip_g 1"
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    yield "picture", ".png", lambda p: photo.save(p), "just a picture"
    yield "picture", ".jpg", lambda p: photo.save(p), "a picture, but no PNG"

    def cut(p):
        buffer = io.BytesIO()
        torch.save(a1111_dict(rows), buffer)
        p.write_bytes(buffer.getvalue()[:-100])

    yield "cut", ".pt", cut, "cut.pt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neolog", required=True, help="the program to check")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        checker = Checker(arguments.neolog, pathlib.Path(name))
        sizes = [(1, 768), (4, 768), (3, 1024)]
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            for vectors, width in sizes if dtype == torch.float32 else sizes[:1]:
                rows = example_rows(vectors, width, dtype, vectors)
                for label, extension, write in one_encoder_sources(rows):
                    checker.check_source(label, extension, write, [rows.to(torch.float32)])
            clip_l, clip_g = example_rows(2, 768, dtype, 11), example_rows(2, 1280, dtype, 12)
            for label, extension, write in two_encoder_sources(clip_l, clip_g):
                checker.check_source(label, extension, write, [clip_l.to(torch.float32), clip_g.to(torch.float32)])
        rows = example_rows(2, 768, torch.float32, 21)
        wide = example_rows(2, 1280, torch.float32, 22)
        checker.check_chains([rows], lambda p: safetensors.torch.save_file({"zesko": rows}, p))
        checker.check_chains([rows, wide], lambda p: safetensors.torch.save_file({"clip_l": rows, "clip_g": wide}, p))
        for label, extension, write, words in refused_files():
            checker.check_refused(label, extension, write, words)
    for what, count in sorted(checker.counts.items()):
        print(f"{count:6} {what}")
    print(f"{len(checker.problems):6} differences")
    return 1 if checker.problems else 0


if __name__ == "__main__":
    sys.exit(main())
