"""Trains the demo's judge, a small network that says shape, colour, pattern and background of a 64x64 picture.

    python train_judge.py                # writes judge.safetensors and judge_golden.safetensors beside this file

It learns from renders of configs/demo/world.py only (blurred, noisy and brightened, so that it forgives what a small VAE
does), never from the demo model's pictures. The architecture is in README.md. Pins are in tests/reference.
"""

import argparse
import json
import pathlib
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "configs" / "demo"))

import world  # noqa: E402

HEADS = {"shape": world.SHAPES, "colour": world.COLOUR_NAMES, "pattern": world.PATTERNS,
         "background": world.BACKGROUND_NAMES}
SIZES = [len(names) for names in HEADS.values()]
# input channels, output channels, kernel, stride; padding is kernel // 2
LAYERS = ((3, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 1), (48, 64, 3, 2), (64, 64, 3, 1), (64, 96, 3, 2))


class Judge(nn.Module):
    """Convolutions with ReLU, then mean and maximum over all positions, then one linear layer for the four heads."""

    def __init__(self, normalised: bool):
        super().__init__()
        self.conv = nn.ModuleList(nn.Conv2d(a, b, k, s, k // 2, bias=not normalised) for a, b, k, s in LAYERS)
        self.norm = nn.ModuleList(nn.BatchNorm2d(b) if normalised else nn.Identity() for _, b, _, _ in LAYERS)
        self.head = nn.Linear(2 * LAYERS[-1][1], sum(SIZES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.conv, self.norm):
            x = F.relu(norm(conv(x)))
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    @torch.no_grad()
    def folded(self) -> "Judge":
        """The same function with every batch normalisation folded into its convolution."""
        plain = Judge(normalised=False)
        for source, norm, target in zip(self.conv, self.norm, plain.conv):
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            target.weight.copy_(source.weight * gain[:, None, None, None])
            target.bias.copy_(norm.bias - norm.running_mean * gain)
        plain.head.load_state_dict(self.head.state_dict())
        return plain.eval()


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [N, 64, 64, 3] -> float [N, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def disturb(x: torch.Tensor) -> torch.Tensor:
    """Blur in half of the batches, noise, and brightness per picture."""
    if random.random() < 0.5:
        small = int(world.SIZE / random.choice([1.5, 2, 2.5]))
        x = F.interpolate(F.interpolate(x, size=(small, small), mode="area"), size=x.shape[2:], mode="bilinear")
    x = x + torch.randn_like(x) * random.random() * 0.12
    return (x * (0.9 + 0.2 * torch.rand(len(x), 1, 1, 1))).clamp(-1, 1)


def labels(objects: np.ndarray, backgrounds: np.ndarray) -> torch.Tensor:
    """[N, 4]: indices of shape, colour, pattern and background."""
    attrs = [world.attributes(int(o)) for o in objects]
    return torch.tensor([[a.shape, a.colour, a.pattern, int(b)] for a, b in zip(attrs, backgrounds)])


@torch.no_grad()
def accuracy(judge: Judge, x: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
    """Share right per head, and of the three attributes of an object together."""
    said = torch.cat([judge(part) for part in x.split(128)]).split(SIZES, 1)
    right = torch.stack([s.argmax(1) == wanted[:, k] for k, s in enumerate(said)], 1)
    result = {name: round(right[:, k].float().mean().item(), 4) for k, name in enumerate(HEADS)}
    return {**result, "object": round(right[:, :3].all(1).float().mean().item(), 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1600)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    pictures, objects, backgrounds = world.data_set(24, seed=70)
    wanted = labels(objects, backgrounds)
    judge = Judge(normalised=True)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=4e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=args.steps)
    began = time.monotonic()
    for step in range(1, args.steps + 1):
        index = torch.randint(0, len(pictures), (48,))
        said = judge(disturb(to_input(pictures[index.numpy()]))).split(SIZES, 1)
        loss = sum(F.cross_entropy(s, wanted[index, k]) for k, s in enumerate(said))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        if step % 100 == 0:
            print(f"{step}/{args.steps} {time.monotonic() - began:.0f}s loss {loss.item():.4f}", flush=True)

    plain = judge.eval().folded()
    fresh, objects, backgrounds = world.data_set(8, seed=71)
    result = accuracy(plain, to_input(fresh), labels(objects, backgrounds))
    print(f"right on {len(fresh)} renders it has not seen: {json.dumps(result)}")
    if result["object"] < 0.99:
        raise SystemExit("the judge must name all three attributes of at least 99 % of renders: raise --steps")
    save_file({name: value.contiguous() for name, value in plain.state_dict().items()}, HERE / "judge.safetensors",
              {"neolog.judge": json.dumps({name: list(names) for name, names in HEADS.items()})})
    eight = np.arange(8) * 33 % len(fresh)
    with torch.no_grad():
        logits = plain(to_input(fresh[eight]))
    save_file({"pictures": torch.from_numpy(fresh[eight]).contiguous(), "logits": logits,
               "labels": labels(objects[eight], backgrounds[eight])}, HERE / "judge_golden.safetensors")


if __name__ == "__main__":
    main()
