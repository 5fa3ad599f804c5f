"""Compares `neolog tokenize` with transformers' CLIPTokenizerFast and CLIPTokenizer on thousands of prompts.

    python check_tokenizer.py --neolog build/release/bin/neolog --merges bpe_simple_vocab_16e6.txt.gz
                              [--count 6000] [--seed 1] [--list DISAGREEMENTS.jsonl]

The prompts are made from a seed: every script, emoji, combining marks, control characters, ill-formed bytes, contractions,
special tokens, prompts beyond 77 tokens. Each is encoded with the tokenizer of CLIP-L (SD 1, padded with the end token) and
with that of OpenCLIP (SD 2 and SDXL's second, padded with id 0, "!"), as it is and padded or truncated to 77 ids.

Neolog must agree with the fast tokenizer on every prompt, or the exit code is 1. Where fast and slow differ, the cause is
looked for by doing to the text what only the slow one does, one thing after another, until the fast one gives the slow
one's ids; the table that is printed counts the prompts of each cause. --list writes every such prompt, with the side that
Neolog takes. tests/reference/README.md has the table and what it means.

Bytes that are not UTF-8 reach Neolog as they are, and transformers, which takes only text, as Python's
decode(errors="replace") reads them. A prompt is a line for `neolog tokenize`, so no prompt has a line feed in it.
"""

import argparse
import collections
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import tokenizers
import transformers
from transformers import AddedToken, CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import BasicTokenizer

import make_tokenizer_corpus as corpus

POSITIONS = 77
VARIANTS = {"CLIP-L (pads with the end token)": None, "OpenCLIP (pads with 0, \"!\")": "!"}


def long_prompts(rng: random.Random, count: int) -> list[str]:
    """Prompts around and beyond 77 tokens, as people collect tags."""
    words = ["cat", "masterpiece", "best quality", "ultra-detailed", "8k", "(cinematic:1.2)", "zesko", "naïve", "日本", "it's",
             "1girl", "hdr!", "sky", "red hair", "<lora:x:0.8>", "😀", "of", "the", "by Greg Rutkowski", "--ar 16:9"]
    return [rng.choice([", ", " ", " | ", "! "]).join(rng.choice(words) for _ in range(rng.randint(20, 120)))
            for _ in range(count)]


def ill_formed(rng: random.Random, count: int) -> list[bytes]:
    """Text with bytes in it that are no UTF-8: overlong forms, lone and cut sequences, surrogates, bytes of other encodings."""
    bad = [b"\xff", b"\xfe", b"\x80", b"\xbf", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80",
           b"\xf0\x9f\x98", b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", "é".encode("latin-1"),
           "naïve".encode("latin-1"), "日本".encode("shift_jis"), "мир".encode("cp1251"), b"\xc3\x28", b"\xf1\x80\x80\x41"]
    good = ["a photo of", "cat", " ", ", ", "é", "日本", "😀", "'s", "1", "ΟΔΟΣ", "\u0301", "<|endoftext|>", "!"]
    return [b"".join(rng.choice(bad) if rng.random() < 0.4 else rng.choice(good).encode() for _ in range(rng.randint(1, 9)))
            for _ in range(count)]


def any_characters(rng: random.Random, count: int) -> list[str]:
    """A few characters from anywhere in Unicode, unassigned ones and private ones too."""
    def character():
        high = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
        c = rng.randrange(high)
        return " " if 0xD800 <= c < 0xE000 else chr(c)
    return ["".join(character() for _ in range(rng.randint(1, 6))) for _ in range(count)]


def emoji(rng: random.Random, count: int) -> list[str]:
    parts = ["😀", "👩", "👨", "👧", "\u200d", "\ufe0f", "\ufe0e", "🏽", "🏿", "❤", "🔥", "🇩", "🇪", "1", "\u20e3", "☺", "🏴", "\U000e0067", "🤖",
             " ", "cat", "♀", "⚕", "🦰", "🫠", "🪿"]
    return ["".join(rng.choice(parts) for _ in range(rng.randint(1, 8))) for _ in range(count)]


def prompts_of(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    prompts: list[bytes] = [p.encode() for p in corpus.by_hand()]
    makers = [lambda: corpus.templated(rng), lambda: corpus.by_script(rng), lambda: corpus.mixtures(rng),
              lambda: corpus.single_characters(rng), lambda: long_prompts(rng, 80), lambda: ill_formed(rng, 100),
              lambda: any_characters(rng, 150), lambda: emoji(rng, 80)]
    kept: dict[bytes, None] = {}
    for maker in itertools.cycle([lambda: prompts, *makers]):
        for prompt in maker():
            raw = prompt if isinstance(prompt, bytes) else prompt.encode()
            if b"\n" not in raw:
                kept[raw] = None
        if len(kept) >= count:
            return list(kept)
    raise AssertionError


def folder_of(merges: pathlib.Path, folder: pathlib.Path, pad: str | None) -> None:
    """A tokenizer folder as the models have it."""
    corpus.clip_tokenizer(merges, folder)
    if pad is not None:
        start, end = (AddedToken(text, lstrip=False, rstrip=False, normalized=True, special=True) for text in corpus.SPECIALS)
        CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), bos_token=start, eos_token=end, unk_token=end,
                      pad_token=pad, model_max_length=POSITIONS).save_pretrained(folder)


def neolog_ids(neolog: pathlib.Path, folder: pathlib.Path, prompts: list[bytes], *options: str) -> list[list[int]]:
    out = subprocess.run([neolog, "tokenize", "--model", folder, *options], input=b"\n".join(prompts) + b"\n",
                         stdout=subprocess.PIPE, check=True).stdout
    lines = [json.loads(line) for line in out.splitlines()]
    if len(lines) != len(prompts):
        raise SystemExit(f"{neolog}: {len(lines)} lines for {len(prompts)} prompts")
    return lines


# What only the slow tokenizer does to a text, each as one step; in its own order.
BASIC = BasicTokenizer(strip_accents=False, do_split_on_punc=False)
STEPS = {
    "drops control, format, private and unassigned characters, U+0000 and U+FFFD": BASIC._clean_text,
    "takes every CJK ideograph for a word": BASIC._tokenize_chinese_chars,
    "composes (NFC) characters newer than Unicode 9": lambda text: unicodedata.normalize("NFC", text),
    "lower-cases whole words: a final capital sigma becomes ς": str.lower,
    # Its pattern ignores case, and the other case of this mark is a letter: neither of its classes takes it.
    "drops U+0345": lambda text: unicodedata.normalize("NFC", text).replace("\u0345", " "),
}


def between_special_texts(text: str, specials: list[str], step) -> str:
    """Applies a step between the texts of special tokens, which the slow tokenizer takes out first."""
    parts, rest = [], text
    while rest:
        found = [(rest.find(s), s) for s in specials if s in rest]
        at, special = min(found) if found else (len(rest), "")
        parts += [step(rest[:at]), special]
        rest = rest[at + len(special):]
    return "".join(parts)


def cause_of(text: str, slow_ids: list[int], fast: CLIPTokenizerFast) -> str:
    for size in range(1, len(STEPS) + 1):
        for names in itertools.combinations(STEPS, size):
            changed = text
            for name in names:
                changed = between_special_texts(changed, fast.all_special_tokens, STEPS[name])
            if fast(changed).input_ids == slow_ids:
                return "; ".join(names)
    if "<|" in text:
        return "looks for the texts of special tokens in another way"
    return "something else"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neolog", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--merges", type=pathlib.Path, required=True, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--count", type=int, default=6000, help="how many prompts, at least [6000]")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts [1]")
    parser.add_argument("--list", type=pathlib.Path, help="where every disagreement is written, one JSON object a line")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()  # prompts beyond 77 tokens are meant
    try:
        import ftfy
        fixer = f"ftfy {ftfy.__version__}"
    except ImportError:
        fixer = "without ftfy"
    raw = prompts_of(args.count, args.seed)
    texts = [prompt.decode(errors="replace") for prompt in raw]
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, {fixer}, Unicode "
          f"{unicodedata.unidata_version} in Python; {len(raw)} prompts of seed {args.seed}")
    listed, failed = [], False
    for variant, pad in VARIANTS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            folder_of(args.merges, folder, pad)
            fast, slow = CLIPTokenizerFast.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
            ours = neolog_ids(args.neolog, folder, raw)
            padded = neolog_ids(args.neolog, folder, raw, "--padded")
            theirs = [fast(text).input_ids for text in texts]
            their_padded = [fast(text, padding="max_length", truncation=True, max_length=POSITIONS).input_ids for text in texts]
            slows = [slow(text).input_ids for text in texts]
            slow_padded = [slow(text, padding="max_length", truncation=True, max_length=POSITIONS).input_ids for text in texts]
        wrong = [i for i in range(len(raw)) if ours[i] != theirs[i] or padded[i] != their_padded[i]]
        differ = [i for i in range(len(raw)) if theirs[i] != slows[i]]
        padded_differ = sum(a != b for a, b in zip(their_padded, slow_padded))
        print(f"\n{variant}: pad id {fast.pad_token_id}; {sum(len(ids) > POSITIONS for ids in theirs)} prompts are longer than "
              f"{POSITIONS} ids\n  Neolog and fast differ on {len(wrong)}; fast and slow differ on {len(differ)} "
              f"({padded_differ} once padded and truncated)")
        for i in wrong[:20]:
            failed = True
            print(f"  NEOLOG DIFFERS: {texts[i]!r}\n    neolog {ours[i]}\n    fast   {theirs[i]}\n    slow   {slows[i]}")
        causes = collections.defaultdict(list)
        for i in differ:
            causes[cause_of(texts[i], slows[i], fast)].append(i)
        for cause, members in sorted(causes.items(), key=lambda item: -len(item[1])):
            print(f"  {len(members):5}  the slow one {cause}")
            for i in members:
                side = "fast" if ours[i] == theirs[i] else "slow" if ours[i] == slows[i] else "neither"
                listed.append({"tokenizer": variant, "cause": cause, "text": texts[i], "neolog": side, "fast": theirs[i],
                               "slow": slows[i]})
    if args.list:
        args.list.write_text("".join(json.dumps(entry) + "\n" for entry in listed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
