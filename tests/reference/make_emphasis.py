"""Writes tests/golden/emphasis.safetensors: what a UNet gets for weighed prompts in chunks, from transformers' text encoders.

    python make_emphasis.py

The model is narrow_sdxl's (make_narrow_sdxl.py, seeded weights). For each prompt, written in A1111's attention syntax, its
chunks with every piece's weight are given here by hand, so nothing of a parser is shared. Each chunk is encoded by itself;
each encoder's hidden states are multiplied by the weights and by mean before / mean after of that chunk, as A1111's
"Original" emphasis does; the pooled text is the first chunk's. Of the hidden states every seventh position is kept.
"""

import json
import pathlib
import tempfile

import torch
from safetensors.torch import save_file

from make_narrow_sdxl import SEED, WIDTHS, build_model
from narrow import POSITIONS, ROOT, Inputs
from reference import Reference

WORD, ROWS = "zesko", [0, 1]
STRIDE = 7
# The prompt, and its chunks as pieces (text, or learned rows) with their weights.
PROMPTS = [
    ("a photo of (the thing:1.5) on [a zesko]",
     [[("a photo of", 1.0), ("the thing", 1.5), ("on", 1.0), ("a", 1 / 1.1), (ROWS, 1 / 1.1)]]),
    ("((zesko)) rendering BREAK (picture of:0.4) a zesko BREAK the (thing",
     [[(ROWS, 1.1 * 1.1), ("rendering", 1.0)], [("picture of", 0.4), ("a", 1.0), (ROWS, 1.0)], [("the", 1.0), ("thing", 1.1)]]),
    ("(" + "a photo of " * 24 + "zesko, the zesko on a picture:1.2)",  # 72 words, 2 rows and a comma: full
     [[("a photo of " * 24, 1.2), (ROWS, 1.2), (",", 1.2)], [("the", 1.2), (ROWS, 1.2), ("on a picture", 1.2)]]),
    ("(" + "a photo of " * 24 + "the thing zesko:0.8) thing",  # the rows would be the 75th and the 76th
     [[("a photo of " * 24, 0.8), ("the thing", 0.8)], [(ROWS, 0.8), ("thing", 1.0)]]),
]


def encoded(model: Reference, inputs: Inputs, chunk: list, rows: list[torch.Tensor]):
    """Hidden states [77, C], weighed, and pooled text of a chunk."""
    pieces = [piece for text, _ in chunk for piece in (text if isinstance(text, list) else [text])]
    weights = [1.0]
    for text, weight in chunk:
        count = len(text) if isinstance(text, list) else len(inputs.tokenizer(text, add_special_tokens=False).input_ids)
        weights += [weight] * count
    assert len(weights) < POSITIONS, "a chunk holds 75 tokens"
    weights = torch.tensor(weights + [1.0] * (POSITIONS - len(weights)))
    texts = [(*(x[None] for x in inputs.prompt(pieces, pad)), block) for pad, block in zip(inputs.pads, rows)]
    hidden, pooled = model.encode_text(texts)
    weighed = []
    for part in hidden[0].split(WIDTHS, dim=-1):
        product = part * weights[:, None]
        weighed.append(product * (part.mean() / product.mean()))
    return torch.cat(weighed, dim=-1), pooled[0]


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        folder = pathlib.Path(scratch) / "model"
        tokenizer = build_model(folder)
        model = Reference.load(folder)
        inputs = Inputs(tokenizer, SEED, WIDTHS, [tokenizer.eos_token_id, 0])
        rows = [inputs.normal(len(ROWS), width, scale=0.4) for width in WIDTHS]
        tensors = {"rows": torch.cat([block.flatten() for block in rows])}
        for n, (_, chunks) in enumerate(PROMPTS):
            results = [encoded(model, inputs, chunk, rows) for chunk in chunks]
            tensors[f"hidden_{n}"] = torch.cat([hidden for hidden, _ in results])[::STRIDE].contiguous()
            tensors[f"pooled_{n}"] = results[0][1].contiguous()
    metadata = {"prompts": json.dumps([text for text, _ in PROMPTS])}
    path = ROOT / "tests" / "golden" / "emphasis.safetensors"
    save_file(tensors, path, metadata=metadata)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
