"""Writes tests/golden/tokenizer: prompts and the ids that transformers' CLIPTokenizerFast gives them.

    python make_tokenizer_corpus.py --merges bpe_simple_vocab_16e6.txt.gz

The merges file is OpenAI CLIP's, inside the open-clip-torch wheel. `prompts.jsonl` is for CLIP's vocabulary of 49,408,
`demo.jsonl` for the demo model's own. One JSON object a line: {"text": ..., "ids": [...]}; ids start with the start
token and end with the closing end token, neither padded nor truncated. The special tokens are configured as in Stable
Diffusion 1.5's tokenizer folder (matched in the text as it is after normalisation). Without ftfy, as the replay
contract says; the fast tokenizer never uses it.
"""

import argparse
import gzip
import json
import pathlib
import random
import sys
import tempfile
import unicodedata

from transformers import AddedToken, CLIPTokenizer, CLIPTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "configs" / "demo"))

import tokenizer as word_tokenizer  # noqa: E402
import world  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "tokenizer"

# First and last code point of samples of many scripts, all in Unicode 9 or older so that no library disagrees by age.
SCRIPTS = {
    "latin": (0x41, 0x7A), "latin1": (0xC0, 0xFF), "latin_extended": (0x100, 0x24F), "ipa": (0x250, 0x2AF),
    "greek": (0x386, 0x3CE), "greek_extended": (0x1F00, 0x1FFE), "cyrillic": (0x400, 0x4FF), "armenian": (0x531, 0x586),
    "hebrew": (0x5D0, 0x5EA), "arabic": (0x620, 0x669), "syriac": (0x710, 0x72C), "thaana": (0x780, 0x7A5),
    "devanagari": (0x904, 0x96F), "bengali": (0x985, 0x9EF), "gurmukhi": (0xA05, 0xA6F), "gujarati": (0xA85, 0xAEF),
    "tamil": (0xB85, 0xBEF), "telugu": (0xC05, 0xC6F), "kannada": (0xC85, 0xCEF), "malayalam": (0xD05, 0xD6F),
    "sinhala": (0xD85, 0xDDF), "thai": (0xE01, 0xE59), "lao": (0xE81, 0xED9), "tibetan": (0xF00, 0xFBC),
    "myanmar": (0x1000, 0x1049), "georgian": (0x10D0, 0x10F0), "georgian_capital": (0x10A0, 0x10C5),
    "jamo": (0x1100, 0x11FF), "ethiopic": (0x1200, 0x1357), "cherokee": (0x13A0, 0x13F4), "ogham": (0x1680, 0x169C),
    "khmer": (0x1780, 0x17E9), "mongolian": (0x1800, 0x1877), "letterlike": (0x2100, 0x214F), "roman": (0x2150, 0x218B),
    "arrows": (0x2190, 0x21FF), "maths": (0x2200, 0x22FF), "enclosed": (0x2460, 0x24FF), "box": (0x2500, 0x25FF),
    "kangxi": (0x2F00, 0x2FD5), "hiragana": (0x3041, 0x3096), "katakana": (0x30A1, 0x30FA), "cjk": (0x4E00, 0x9FA5),
    "hangul": (0xAC00, 0xD7A3), "presentation": (0xFB00, 0xFB4F), "fullwidth": (0xFF01, 0xFF5E),
    "halfwidth": (0xFF65, 0xFF9F), "gothic": (0x10330, 0x1034A), "deseret": (0x10400, 0x1044F),
    "cuneiform": (0x12000, 0x120FF), "hieroglyphs": (0x13000, 0x1342E), "maths_letters": (0x1D400, 0x1D7FF),
    "emoji": (0x1F300, 0x1F64F), "cjk_b": (0x20000, 0x2A6D6),
}
MARKS = [chr(c) for c in (0x300, 0x301, 0x302, 0x303, 0x304, 0x307, 0x308, 0x30A, 0x30C, 0x316, 0x323, 0x327, 0x328,
                          0x345, 0x483, 0x5B0, 0x5BC, 0x64B, 0x651, 0x93C, 0x94D, 0xE38, 0x302A, 0x3099, 0x309A, 0x20D0)]
SPACES = [chr(c) for c in (*range(0x9, 0xE), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200C),
                           0x200D, 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF)]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ll", "’s", "’t", "'x", "''s", "'", "''"]
SPECIALS = ["<|startoftext|>", "<|endoftext|>"]


def by_hand() -> list[str]:
    """Prompts whose purpose can be read off."""
    prompts = [
        "", " ", "a", "A", "a photo of a cat", "A Photo Of A CAT", "  a   photo\tof\na cat  ", "a photo of a cat.",
        "masterpiece, best quality, (ultra-detailed:1.2), [bad anatomy], {{{solo}}}, 1girl, 8k, trending on artstation",
        "it's Bob's, don't they'll I've we're I'm he'd", "IT'S BOB'S, DON'T THEY'LL I'VE WE'RE I'M HE'D",
        "rock'n'roll", "o'clock", "'s", "s's's's", "'tis 'twas", "y'all'd've", "l’été de l’homme", "a 's b", "a' s",
        "İstanbul", "ISTANBUL", "ıi İI", "ΣΊΣΥΦΟΣ", "ΟΔΟΣ ΟΔΌΣ", "Straße STRASSE ẞ", "ﬁ ﬂ ﬃ ﬆ", "Ǆ ǅ ǆ", "\u212a \u212b \u2126 K \u00c5 \u03a9", "ϴ ϐ ϑ",
        "\u00e9 e\u0301 e\u0301\u0323", "\u00c5 A\u030a \u212b", "\u1e69 s\u0323\u0307 s\u0307\u0323", "\u304c \u304b\u3099",
        "\uac01 \u1100\u1161\u11a8 \uac00\u11a8 \u1100\u1161", "\u0958 \u0915\u093c", "\ufb2c \u05e9\u05bc\u05c1 \u05e9\u05c1\u05bc",
        "\U0001d15f \U0001d157\U0001d165", "a\u0310e\u0301o\u0308\u0332", "u\u0308\u0304\u0323 \u01d6\u0323", "\u0344 \u0374 \u037e \u0387",
        "\u2000\u2001 \u2002", "\uf900 \ufa1e \U0002f800", "\u0f77 \u0f71\u0f80", "q\u0307\u0323 q\u0323\u0307", "\u1e9b\u0323",
        "x²+y³≈½", "1234567890", "1,234.56", "３．１４", "Ⅳ ⅳ ①②③", "٣٤٥ ३४५ ๓๔๕", "1st 2nd 3rd", "v1.5-pruned", "512x512",
        "😀", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "1️⃣ #️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☺ ☺️ ☺︎", "🤖🤖🤖", "cat😀dog", "❤️‍🔥 ♥",
        "<cat-toy>", "<zesko>", "zesko", "sks dog", "a photo of *", "a photo of <zesko>, red", "S*", "[name], [filewords]",
        "embedding:zesko", "(zesko:1.3)", "zesko_1 zesko_2", "<zesko>_1", "<lora:foo:0.8>", "<|zesko|>", "__word__", "{a|b}",
        "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "a<|endoftext|>b", "<|endoftext|><|endoftext|>",
        "<|startoftext|>a photo<|endoftext|>", "<|STARTOFTEXT|> x", "<|EndOfText|>", "<|endoftext|", "|endoftext|>",
        "< |endoftext|>", "<|end oftext|>", " <|endoftext|> ", "\n<|startoftext|>\n", "<|endoftext|>'s", "é<|endoftext|>é",
        "<|endoftext|>\u0301", "\u0301<|endoftext|>", "<|startoftext|><|STARTOFTEXT|>", "<|endoftext|></w>", "</w>", "a</w>",
        "\u0301", "\u0301a", "a\u200b b", "zero\u200dwidth", "soft\u00adhyphen", "word\ufeffjoin", "\ufeffstart", "right\u200fto",
        "\x00", "a\x00b", "\x01\x02\x03", "\x7f", "\x80\x9f", "tab\tseparated", "line\r\nbreak", "\x1b[31mred\x1b[0m",
        "https://example.org/a?b=c&d=%20#e", "user@example.org", "C++ & C#", "#hashtag @user $100 €5 £3 ¥7", "50% off!!!",
        "...", "…", "?!", "-", "--", "—", "-—–", "a-b_c/d\\e|f", "\"quoted\" “curly” «guillemets» 「鉤」", "`code`", "^_^", "¯\\_(ツ)_/¯",
        "привет мир", "ПРИВЕТ МИР", "γειά σου", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "你好世界", "こんにちは世界", "안녕하세요 세계",
        "ქართული", "Ქართული", "ᏣᎳᎩ ꮳꮃꭹ", "𐐔𐐯𐑅 𐐼𐐯𐑅", "ⴀⴁ ႠႡ", "ⲀⲁⲂⲃ", "Ⓐⓐ", "ａＡ", "𝐀𝑎𝒜", "ꙀꙁꚀ", "ⅰⅠ", "ʰʱ", "ªº", "ⁿ₁",
        "naïve café résumé", "NAÏVE CAFÉ RÉSUMÉ", "Zoë Ångström", "Dvořák Łódź", "Việt Nam", "Đặng", "œuvre Æsir", "þórr Ðorn",
        "�", "\ue000", "\U000f0000", "\U0010ffff", "\ufffe", "\ufdd0", "\u0378", "㍿ ㏂ ㋿", "﷽", "\u2028x\u2029y",
    ]
    for length in (20, 60, 77, 100, 300):
        prompts += ["a" * length, "ab" * length, "supercalifragilistic" * (length // 20), "字" * length, "9" * length,
                    "!" * length, "cat " * length, "é" * length]
    return prompts


def templated(rng: random.Random) -> list[str]:
    """Prompts as people write them."""
    subjects = ["cat", "dog", "castle", "robot", "bowl of fruit", "woman with red hair", "steam engine", "zesko", "sks toy",
                "T-Rex", "1960s car", "café", "Mount Fuji", "jack-o'-lantern", "McDonald's cup", "Möbius strip"]
    styles = ["by Greg Rutkowski", "in the style of Van Gogh", "oil on canvas", "35mm f/1.4", "unreal engine 5", "4k, hdr",
              "(cinematic lighting:1.3)", "--ar 16:9", "pixel-art", "ukiyo-e", "art nouveau", "b&w", "90's anime", "low-poly"]
    return [f"{rng.choice(world.TEMPLATES).format(rng.choice(subjects))}{rng.choice([', ', ' ', ' | ', '; '])}"
            f"{rng.choice(styles)}{rng.choice(['', ', ' + rng.choice(styles), '.', '!!'])}" for _ in range(200)]


def letters_of(script: str) -> list[str]:
    first, last = SCRIPTS[script]
    return [chr(c) for c in range(first, last + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


def by_script(rng: random.Random) -> list[str]:
    """Words of every script: alone, with marks, beside digits, punctuation and Latin."""
    prompts = []
    for script in SCRIPTS:
        letters = letters_of(script)

        def word():
            return "".join(rng.choice(letters) for _ in range(rng.randint(1, 7)))

        prompts += [" ".join(word() for _ in range(rng.randint(2, 4))), word() + rng.choice("0123456789") + word(),
                    f"a photo of {word()}, {word()}.", word() + rng.choice(MARKS) + word() + rng.choice(MARKS),
                    word() + rng.choice(CONTRACTIONS) + word(), word() + rng.choice(SPACES) + word(),
                    word().upper() + word().title()]
    return prompts


def single_characters(rng: random.Random) -> list[str]:
    """Every character up to U+00FF between letters, every space in several places, some characters of every category."""
    prompts = [f"a{chr(c)}b" for c in range(256)]
    prompts += [f"{s}a{s}{s}b{s}" for s in SPACES] + [f"1{s}." for s in SPACES]
    by_category: dict[str, list[str]] = {}
    for c in [*range(0x100, 0x10000), *range(0x10000, 0x20000, 3)]:
        if unicodedata.category(chr(c)) not in ("Cs", "Cn"):
            by_category.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    for category in sorted(by_category):
        prompts += [f"x{c}y {c}" for c in rng.sample(by_category[category], min(6, len(by_category[category])))]
    return prompts


def mixtures(rng: random.Random) -> list[str]:
    """Random pieces glued together."""
    pools = [letters_of(s) for s in SCRIPTS] + [SPACES, MARKS, CONTRACTIONS, SPECIALS, list("0123456789"), list(".,:;!?-_()[]<>|/"),
                                               ["a photo of", "zesko", "</w>", "cat", "It's", "THE"]]
    prompts = []
    for _ in range(220):
        pieces = []
        for _ in range(rng.randint(2, 9)):
            pool = rng.choice(pools)
            pieces.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 3))))
        prompts.append(rng.choice(["", " "]).join(pieces))
    return prompts


def corpus() -> list[str]:
    rng = random.Random(20240501)
    prompts = by_hand() + templated(rng) + by_script(rng) + single_characters(rng) + mixtures(rng)
    return list(dict.fromkeys(prompts))


def clip_tokenizer(merges: pathlib.Path, folder: pathlib.Path) -> CLIPTokenizerFast:
    """CLIP's tokenizer from OpenAI's merges file: 256 bytes, the same ending a word, 48,894 merges, 2 special tokens."""
    lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[1:48_894 + 1]
    base = word_tokenizer.byte_symbols()
    symbols = [*base, *(b + "</w>" for b in base), *("".join(line.split()) for line in lines), *SPECIALS]
    if len(symbols) != 49_408:
        raise SystemExit(f"{merges}: expected CLIP's 48,894 merges, this makes a vocabulary of {len(symbols)}")
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    start, end = (AddedToken(text, lstrip=False, rstrip=False, normalized=True, special=True) for text in SPECIALS)
    slow = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), bos_token=start, eos_token=end,
                         unk_token=end, pad_token=SPECIALS[1], model_max_length=77)
    slow.save_pretrained(folder)
    return CLIPTokenizerFast.from_pretrained(folder)


def write(path: pathlib.Path, tokenizer: CLIPTokenizerFast, prompts: list[str]):
    with path.open("w") as file:
        for text in prompts:
            ids = tokenizer(text).input_ids
            file.write(json.dumps({"text": text, "ids": ids}, separators=(",", ":")) + "\n")
    print(path.name, len(prompts), "prompts,", path.stat().st_size, "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merges", type=pathlib.Path, required=True, help="bpe_simple_vocab_16e6.txt.gz")
    args = parser.parse_args()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    prompts = corpus()
    with tempfile.TemporaryDirectory() as folder:
        write(GOLDEN / "prompts.jsonl", clip_tokenizer(args.merges, pathlib.Path(folder)), prompts)
    demo = [world.on_background(t, k % 7).format(world.NOUNS[5 * k]) for k, t in enumerate(world.TEMPLATES)]
    demo += [t.format(world.description(7 * k)) for k, t in enumerate(world.TEMPLATES)] + prompts[::25] + ["zesko", "wimbra"]
    write(GOLDEN / "demo.jsonl", CLIPTokenizerFast.from_pretrained(ROOT / "configs/demo/model/tokenizer"), demo)


if __name__ == "__main__":
    main()
