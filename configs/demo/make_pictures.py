"""Writes the learning pictures of one held-out object of the demo's world as PNG files, always the same ones.

    python make_pictures.py --object 90 --out pictures/zesko
    python make_pictures.py --demo          # both folders of pictures/, as they are committed
    python make_pictures.py --list          # the tuning and the report objects as JSON
    python make_pictures.py --report --out ../../tests/bench/held_out   # the list and all report objects' pictures

Needs numpy and Pillow only.
"""

import argparse
import json
import pathlib

from PIL import Image

import world

# Made-up words for held-out objects; none is a word of the model's vocabulary.
DEMO = {"zesko": "purple dotted triangle", "wimbra": "orange dotted square"}
REPORT_WORDS = ("alvimo", "brusko", "cundri", "dolvex", "evrani", "fustok", "gweldo", "hirvam", "istrap", "jolmek",
                "kuvrin", "lampro")


def evaluation_list() -> dict:
    """The tuning and the report objects: word, object id, description, backgrounds learned from, new backgrounds."""

    def entries(words, objects):
        return [dict(word=word, object=obj, description=world.description(obj),
                     shape=world.SHAPES[world.attributes(obj).shape],
                     colour=world.COLOUR_NAMES[world.attributes(obj).colour],
                     pattern=world.PATTERNS[world.attributes(obj).pattern],
                     seen="never" if obj in world.NEVER_SEEN else "described") for word, obj in zip(words, objects)]

    return dict(
        tuning=entries([f"tuno{letter}" for letter in "abcdefgh"], world.TUNING),
        report=entries(REPORT_WORDS, world.REPORT),
        learning_backgrounds=[world.BACKGROUND_NAMES[b] for b in world.LEARNING_BACKGROUNDS],
        new_backgrounds=[world.BACKGROUND_NAMES[b] for b in world.NEW_BACKGROUNDS],
        shapes=list(world.SHAPES), colours=list(world.COLOUR_NAMES), patterns=list(world.PATTERNS),
        backgrounds=list(world.BACKGROUND_NAMES))


def write(obj: int, folder: pathlib.Path, count: int):
    """Pictures 1.png, 2.png, ... of the object in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(world.learning_pictures(obj, count), 1):
        Image.fromarray(picture).save(folder / f"{number}.png", optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--object", type=int, help="object id; held-out ones are in --list")
    what.add_argument("--demo", action="store_true")
    what.add_argument("--list", action="store_true")
    what.add_argument("--report", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, help="folder for --object and --report")
    parser.add_argument("--count", type=int, default=6)
    args = parser.parse_args()
    if args.list:
        print(json.dumps(evaluation_list(), indent=1))
    elif args.demo:
        for word, text in DEMO.items():
            shape, colour, pattern = (text.split()[k] for k in (2, 0, 1))
            obj = world.object_id(shape, colour, pattern)
            write(obj, pathlib.Path(__file__).parent / "pictures" / word, args.count)
    elif args.report:
        if args.out is None:
            parser.error("--report needs --out")
        for entry in evaluation_list()["report"]:
            write(entry["object"], args.out / entry["word"], args.count)
        (args.out / "objects.json").write_text(json.dumps(evaluation_list(), indent=1) + "\n")
    else:
        if args.out is None or not 0 <= args.object < world.NUM_OBJECTS:
            parser.error(f"--object takes 0 to {world.NUM_OBJECTS - 1} and needs --out")
        write(args.object, args.out, args.count)


if __name__ == "__main__":
    main()
