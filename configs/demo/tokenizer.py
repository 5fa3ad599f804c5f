"""The demo model's tokenizer: CLIP's byte-level BPE with merges that make every word of the world one token."""

import collections
import json
import pathlib

import world

MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """CLIP's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte pair encoding run until every word is a single symbol."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        counts = collections.Counter(pair for p in pieces.values() for pair in zip(p, p[1:]))
        if not counts:
            return merges
        (left, right), _ = max(counts.items(), key=lambda item: (item[1], item[0]))
        merges.append((left, right))
        for word, symbols in pieces.items():
            merged: list[str] = []
            for symbol in symbols:
                if merged and (merged[-1], symbol) == (left, right):
                    merged[-1] = left + right
                else:
                    merged.append(symbol)
            pieces[word] = merged


def build(folder: pathlib.Path, words: list[str] | None = None):
    """Writes vocab.json and merges.txt for `words` (left out: the world's) to `folder`; returns a CLIPTokenizer."""
    from transformers import CLIPTokenizer

    words = world.vocabulary() if words is None else words
    merges = learn_merges(words)
    base = byte_symbols()
    symbols = [*base, *(b + "</w>" for b in base), *(a + b for a, b in merges), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_LENGTH,
                              pad_token=END)
    for word in words:
        if len(tokenizer(word).input_ids) != 3:
            raise AssertionError(f"the word {word!r} is not a single token: {tokenizer.tokenize(word)}")
    return tokenizer
