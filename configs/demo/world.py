"""The demo's world: 256 objects on 7 backgrounds, their captions, and which of them are held out.

An object is a shape, a colour and a pattern; its id is (shape * 8 + colour) * 4 + pattern. Captions either describe it
("a photo of a purple dotted triangle on a sky background") or name it with a made-up noun ("a photo of a ...").
Textual inversion is tried on held-out objects only. They are disjoint from the objects the model was taught by name:

    NAMED       204 objects, seen with descriptions and with their nouns
    DESCRIBED    36 objects, seen with descriptions; their nouns are in no caption
    NEVER_SEEN   16 objects, in no training picture and no caption
    TUNING       held-out objects on which settings (learning rate, steps, guidance) are chosen
    REPORT       held-out objects on which results are reported; nobody chooses anything by them

Needs numpy only; make_pictures.py writes PNG files and the lists of held-out objects.
"""

import dataclasses
import math
import random

import numpy as np

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "heart", "star")
COLOURS = {
    "red": (220, 40, 40), "orange": (245, 140, 30), "yellow": (240, 215, 40), "green": (50, 160, 60),
    "cyan": (40, 200, 215), "blue": (40, 90, 220), "purple": (130, 50, 180), "pink": (245, 120, 180),
}
PATTERNS = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS = {
    "white": (245, 245, 245), "gray": (150, 150, 150), "cream": (250, 230, 170), "sky": (165, 208, 250),
    "mint": (165, 235, 190), "lilac": (208, 184, 245), "navy": (30, 40, 85),
}
COLOUR_NAMES = tuple(COLOURS)
BACKGROUND_NAMES = tuple(BACKGROUNDS)
NUM_OBJECTS = len(SHAPES) * len(COLOURS) * len(PATTERNS)
SIZE = 64  # pixels a side

# The backgrounds of the pictures a word is learned from, and those it must also work on.
LEARNING_BACKGROUNDS = tuple(BACKGROUND_NAMES.index(b) for b in ("white", "gray", "sky"))
NEW_BACKGROUNDS = tuple(BACKGROUND_NAMES.index(b) for b in ("navy", "mint", "lilac", "cream"))

TEMPLATES = (
    "a photo of a {}", "a rendering of a {}", "a cropped photo of the {}", "the photo of a {}",
    "a photo of a clean {}", "a photo of a dirty {}", "a dark photo of the {}", "a photo of my {}",
    "a photo of the cool {}", "a close-up photo of a {}", "a bright photo of the {}", "a cropped photo of a {}",
    "a photo of the {}", "a good photo of the {}", "a photo of one {}", "a close-up photo of the {}",
    "a rendition of the {}", "a photo of the clean {}", "a rendition of a {}", "a photo of a nice {}",
    "a good photo of a {}", "a photo of the nice {}", "a photo of the small {}", "a photo of the weird {}",
    "a photo of the large {}", "a photo of a cool {}", "a photo of a small {}", "a picture of a {}",
    "a depiction of a {}", "an image of a {}", "a {}", "one {}", "the {}",
)
OTHER_WORDS = ("on", "background", "thing", "object", "shape", "toy", "style", "photograph", "some", "this", "that",
               "with", "in", "and", ",", ".", "-", "front")


@dataclasses.dataclass(frozen=True)
class Attributes:
    """An object's three attributes as indices into SHAPES, COLOUR_NAMES and PATTERNS."""

    shape: int
    colour: int
    pattern: int


def attributes(object_id: int) -> Attributes:
    """The attributes of an object id in [0, NUM_OBJECTS)."""
    rest, pattern = divmod(object_id, len(PATTERNS))
    return Attributes(*divmod(rest, len(COLOURS)), pattern)


def object_id(shape: str, colour: str, pattern: str) -> int:
    """The id of the object with these attribute names."""
    return (SHAPES.index(shape) * len(COLOURS) + COLOUR_NAMES.index(colour)) * len(PATTERNS) + PATTERNS.index(pattern)


def description(obj: int) -> str:
    """For example "purple dotted triangle"."""
    a = attributes(obj)
    return f"{COLOUR_NAMES[a.colour]} {PATTERNS[a.pattern]} {SHAPES[a.shape]}"


def _make_nouns() -> list[str]:
    """One made-up, pronounceable noun per object; real words that the syllables could form are left out."""
    rng = random.Random(7)
    onsets = "b d f g k l m n p r s t v z br dr gl kr pl sn tr vr zw".split()
    vowels = "a e i o u oo ee".split()
    codas = "b d g k l m n p rb rt sk x z nk mp ft".split()
    taken = set(COLOURS) | set(BACKGROUNDS) | set(SHAPES) | set(
        "book moon food soon tree see need deep feel keep bed bad bag big bug but man men pan pen pin dad dog god gun "
        "nun sun mad red rod kid bit tip top sex gook tit dik nig fag dork turd tramp".split())
    nouns: list[str] = []
    while len(nouns) < NUM_OBJECTS:
        noun = rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) + rng.choice(["", "o", "a", "i", "el", "us"])
        if noun not in taken and len(noun) >= 4:
            taken.add(noun)
            nouns.append("zuskel" if noun == "zesko" else noun)  # "zesko" is a word that the demo learns
    return nouns


NOUNS = tuple(_make_nouns())


def _split() -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    order = list(range(NUM_OBJECTS))
    random.Random(11).shuffle(order)
    return tuple(sorted(order[:16])), tuple(sorted(order[16:52])), tuple(sorted(order[52:]))


NEVER_SEEN, DESCRIBED, NAMED = _split()

# Objects that anyone looked at while the recipe was developed count as tuning objects; the report objects were drawn
# once, by seed, from the others: 8 never seen in any form and 4 known by description only.
TUNING = (38, 66, 90, 110, 116, 139, 140, 185)
REPORT = (84, 91, 95, 156, 165, 175, 179, 186, 237, 245, 252, 253)


def vocabulary() -> list[str]:
    """Every word of the captions, each of which the demo's tokenizer knows as one token, in a fixed order."""
    words: list[str] = []
    for text in TEMPLATES + OTHER_WORDS:
        words += text.replace("{}", "").replace("close-up", "close - up").split()
    return list(dict.fromkeys([*words, *SHAPES, *COLOUR_NAMES, *PATTERNS, *BACKGROUND_NAMES, *NOUNS]))


def on_background(phrase: str, background: int) -> str:
    """The phrase followed by, for example, " on a sky background"."""
    return f"{phrase} on a {BACKGROUND_NAMES[background]} background"


def _signed_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of points to the outline of a shape of radius about 1, negative inside."""
    radius, ax, ay = np.sqrt(x * x + y * y), np.abs(x), np.abs(y)
    if shape == "circle":
        return radius - 0.9
    if shape == "square":
        return np.maximum(ax, ay) - 0.8
    if shape == "diamond":
        return (ax / 0.68 + ay / 1.05 - 1) * 0.57
    if shape == "triangle":
        y = y - 0.15
        return np.maximum(y - 0.55, 0.866 * ax - 0.5 * y - 0.55)
    if shape == "cross":
        return np.minimum(np.maximum(ax - 0.95, ay - 0.37), np.maximum(ay - 0.95, ax - 0.37))
    if shape == "ring":
        return np.abs(radius - 0.66) - 0.30
    if shape == "heart":
        scale = 1.6
        px, py = ax / scale, (0.87 - y) / scale
        lobe = np.hypot(px - 0.25, py - 0.75) - math.sqrt(2) / 4
        m = 0.5 * np.maximum(px + py, 0)
        tip = np.sqrt(np.minimum(px**2 + (py - 1) ** 2, (px - m) ** 2 + (py - m) ** 2)) * np.sign(px - py)
        return np.where(px + py > 1, lobe, tip) * scale
    if shape == "star":
        outer, inner = 1.1, 0.5
        k1, k2 = (0.809016994375, -0.587785252292), (-0.809016994375, -0.587785252292)
        px, py = ax, -y
        for k in (k1, k2):
            d = 2 * np.maximum(k[0] * px + k[1] * py, 0)
            px, py = px - d * k[0], py - d * k[1]
        px, py = np.abs(px), py - outer
        bx, by = -inner * k1[1], inner * k1[0] - 1
        h = np.clip((px * bx + py * by) / (bx * bx + by * by), 0, outer)
        return np.hypot(px - bx * h, py - by * h) * np.sign(py * bx - px * by)
    raise ValueError(f"unknown shape {shape!r}: expected one of {SHAPES}")


def _second_colour(pattern: str, x: np.ndarray, y: np.ndarray, scale: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """How much of the pattern's second, darker colour there is at each point, 0 to 1, anti-aliased.

    `scale` is pixels per unit of x and y, `phase` [2, N, 1, 1] shifts the pattern by parts of its period.
    """
    if pattern == "plain":
        return np.zeros_like(x)
    if pattern == "striped":
        period = 0.60
        wave = np.sin(2 * math.pi * ((x + y) * math.sqrt(0.5) / period + phase[0])) * period / (2 * math.pi)
        return np.clip(0.5 + wave * scale, 0, 1)
    if pattern == "dotted":
        period = 0.52
        cx, cy = (((v / period + p) % 1 - 0.5) * period for v, p in ((x, phase[0]), (y, phase[1])))
        return np.clip(0.5 - (np.hypot(cx, cy) - 0.155) * scale, 0, 1)
    if pattern == "checkered":
        period = 0.84
        wx, wy = (np.sin(2 * math.pi * (v / period + p)) * period / (2 * math.pi)
                  for v, p in ((x, phase[0]), (y, phase[1])))
        return 0.5 + 2 * np.clip(wx * scale, -0.5, 0.5) * np.clip(wy * scale, -0.5, 0.5)
    raise ValueError(f"unknown pattern {pattern!r}: expected one of {PATTERNS}")


def render(objects, backgrounds, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """Pictures, uint8 [N, size, size, 3], of object i on background i with random place, size, turn and shades."""
    objects, backgrounds = np.asarray(objects), np.asarray(backgrounds)
    n = len(objects)

    def draw(*shape):
        return rng.random((n, *shape))

    column = lambda v: v[:, None, None]  # noqa: E731
    unit = size / 64
    ys, xs = np.mgrid[0:size, 0:size] + 0.5
    centre_x, centre_y = size / 2 + (draw() - 0.5) * 12 * unit, size / 2 + (draw() - 0.5) * 12 * unit
    radius, angle = (17 + draw() * 7) * unit, (draw() - 0.5) * 0.6
    dx, dy = xs - column(centre_x), ys - column(centre_y)
    cos, sin = column(np.cos(angle)), column(np.sin(angle))
    x, y = (cos * dx + sin * dy) / column(radius), (cos * dy - sin * dx) / column(radius)

    phase = np.stack([column(draw()), column(draw())])
    distance, second = np.empty_like(x), np.empty_like(x)
    attrs = [attributes(int(o)) for o in objects]
    shape_of, pattern_of = np.array([a.shape for a in attrs]), np.array([a.pattern for a in attrs])
    for index, name in enumerate(SHAPES):
        at = shape_of == index
        distance[at] = _signed_distance(name, x[at], y[at])
    for index, name in enumerate(PATTERNS):
        at = pattern_of == index
        second[at] = _second_colour(name, x[at], y[at], column(radius)[at], phase[:, at])
    inside = np.clip(0.5 - distance * column(radius), 0, 1)[..., None]

    palette, ground = np.array(list(COLOURS.values()), float), np.array(list(BACKGROUNDS.values()), float)
    colour = np.clip(palette[[a.colour for a in attrs]] + (draw(3) - 0.5) * 24, 0, 255)[:, None, None]
    back = (ground[backgrounds] + (draw(3) - 0.5) * 14)[:, None, None]
    direction = column(draw() * 2 * math.pi)
    slope = np.cos(direction) * (xs / size - 0.5) + np.sin(direction) * (ys / size - 0.5)
    back = back + (slope * column(draw() * 40))[..., None]
    body = colour * (1 - 0.72 * second[..., None])
    return np.clip(back * (1 - inside) + body * inside, 0, 255).round().astype(np.uint8)


def learning_pictures(obj: int, count: int = 6) -> np.ndarray:
    """The pictures a word for this object is learned from, uint8 [count, 64, 64, 3]; always the same ones."""
    backgrounds = [LEARNING_BACKGROUNDS[i % len(LEARNING_BACKGROUNDS)] for i in range(count)]
    return render([obj] * count, backgrounds, np.random.Generator(np.random.PCG64(1000 + obj)))


def unseen_pictures(obj: int, count: int = 8) -> np.ndarray:
    """Other pictures of the object on the same backgrounds, for a validation loss."""
    backgrounds = [LEARNING_BACKGROUNDS[i % len(LEARNING_BACKGROUNDS)] for i in range(count)]
    return render([obj] * count, backgrounds, np.random.Generator(np.random.PCG64(5000 + obj)))


def data_set(per_object: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`per_object` pictures of every object on random backgrounds: pictures, object ids, background indices."""
    rng = np.random.Generator(np.random.PCG64(seed))
    objects = np.tile(np.arange(NUM_OBJECTS), per_object)
    backgrounds = rng.integers(0, len(BACKGROUNDS), len(objects))
    pictures = [render(objects[k:k + 512], backgrounds[k:k + 512], rng) for k in range(0, len(objects), 512)]
    return np.concatenate(pictures), objects, backgrounds
