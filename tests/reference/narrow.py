"""What the narrow models' golden scripts share: a word tokenizer, injected inputs, and the cases every family has."""

import pathlib
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "configs" / "demo"))

import tokenizer as word_tokenizer  # noqa: E402

WORDS = "a photo of the thing on rendering picture".split()
POSITIONS = 77


def build_tokenizer():
    with tempfile.TemporaryDirectory() as scratch:
        return word_tokenizer.build(pathlib.Path(scratch), WORDS)


class Inputs:
    """Injected tensors of the cases, all drawn from one generator in order.

    `widths` are the text encoders' D and `pads` the tokens that fill their prompts up, one each."""

    def __init__(self, tokenizer, seed: int, widths: list[int], pads: list[int]):
        self.tokenizer, self.widths, self.pads = tokenizer, widths, pads
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def names(self, name: str) -> list[str]:
        """The tensor's name for each encoder."""
        return [name, f"{name}_2"][:len(self.widths)]

    def prompt(self, pieces: list[str | int], pad: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """ids and slots, each [T], of a prompt in which an integer r stands for learned row r; cut at T positions."""
        ids, slots = [self.tokenizer.bos_token_id], [-1]
        for piece in pieces:
            if isinstance(piece, int):
                ids.append(987_654_321 if piece % 2 else -5)  # ignored, whatever it is
                slots.append(piece)
            else:
                plain = self.tokenizer(piece, add_special_tokens=False).input_ids
                ids += plain
                slots += [-1] * len(plain)
        end = self.tokenizer.eos_token_id
        ids, slots = ids[:POSITIONS - 1] + [end], slots[:POSITIONS - 1] + [-1]
        padding = POSITIONS - len(ids)
        return (torch.tensor(ids + [end if pad is None else pad] * padding), torch.tensor(slots + [-1] * padding))

    def prompts(self, many: list[list[list[str | int]]]) -> dict[str, torch.Tensor]:
        """input_ids and slots of every encoder, each [S, B, T]."""
        result = {}
        for suffix, pad in zip(self.names(""), self.pads):
            pairs = [[self.prompt(pieces, pad) for pieces in batch] for batch in many]
            for k, name in enumerate(("input_ids", "slots")):
                result[name + suffix] = torch.stack([torch.stack([pair[k] for pair in batch]) for batch in pairs])
        return result

    def rows(self, count: int) -> dict[str, torch.Tensor]:
        """Learned rows of every encoder."""
        return {name: self.normal(count, width, scale=0.4) for name, width in zip(self.names("rows"), self.widths)}

    def time_ids(self, *lead: int) -> dict[str, torch.Tensor]:
        """SDXL's sizes and crops, [*lead, 6]; nothing for models with one encoder."""
        if len(self.widths) == 1:
            return {}
        return {"time_ids": torch.randint(0, 1500, (*lead, 6), generator=self.generator)}

    def train(self, prompts: list[list[list[str | int]]], rows: int, height: int = 8, width: int = 8) -> dict:
        steps, batch = len(prompts), len(prompts[0])
        timesteps = torch.randint(0, 1000, (steps, batch), generator=self.generator)
        timesteps[0, 0], timesteps[-1, -1] = 0, 999
        return {**self.prompts(prompts),
                "latents": self.normal(steps, batch, 4, height, width),
                "noise": self.normal(steps, batch, 4, height, width),
                "timesteps": timesteps,
                **self.rows(rows), **self.time_ids(steps, batch)}

    def sample(self, negative: list[str | int], prompt: list[str | int], rows: int, steps: int) -> dict:
        texts = self.prompts([[negative, prompt]])
        return {**{name: tensor[0] for name, tensor in texts.items()}, **self.rows(rows),
                "noise": self.normal(1 + steps, 4, 8, 8), **self.time_ids(2)}


def train_case(steps: int, accumulation: int = 1, **changes) -> dict:
    case = dict(kind="train", lr=[5e-3] * (steps // accumulation), beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2,
                grad_accumulation=accumulation, prediction="auto")
    return {**case, **changes}


def twenty_steps(inputs: Inputs, accumulation: int) -> tuple[dict, dict]:
    """Twenty optimiser steps of `accumulation` micro-steps, three rows."""
    prompts = [[["a photo of a", 0, 1, 2], ["the", 0, 1, 2, "on", 0, 1, 2]],
               [["a rendering of the", 0, 1, 2], [2, 2, "thing", 1]]] * (10 * accumulation)
    rates = [round(1e-2 * min(1, (k + 1) / 4) * (1 - k / 25), 8) for k in range(20)]
    return train_case(20 * accumulation, accumulation, lr=rates, eps=1e-4), inputs.train(prompts, rows=3)


def vae_cases(inputs: Inputs) -> dict[str, tuple[dict, dict]]:
    return {
        "vae_encode": ({"kind": "vae_encode"}, {"pixels": inputs.normal(2, 3, 64, 48, scale=0.5).clamp(-1, 1)}),
        "vae_decode": ({"kind": "vae_decode"}, {"latents": inputs.normal(2, 4, 8, 6)}),
    }


def usual_cases(inputs: Inputs) -> dict[str, tuple[dict, dict]]:
    """The cases of a family that differs from SD 1 in its parts, not in what training means."""
    usual = [[["a photo of a", 0, 1], ["a rendering of the", 0, 1, "on a thing"]]] * 3
    odd = [[[2, "a photo", 0, 0, "of a", 2], ["a", 2, 0, 2, 0]], [["a photo of a thing"], [""]],
           [[2] * 75, ["on " * 73, 0, 2]], [["a photo of a thing"], ["the thing", 0]]]
    cases = {"train": (train_case(3), inputs.train(usual, rows=2)),
             "train_odd_slots": (train_case(4, accumulation=2, lr=[5e-3, 2e-3], weight_decay=0.0),
                                 inputs.train(odd, rows=3)),
             "train_20_steps": twenty_steps(inputs, accumulation=1)}
    cases.update(vae_cases(inputs))
    for name in ("ddim", "euler_a"):
        cases[f"sample_{name}"] = (dict(kind="sample", steps=8, cfg=3.0, sampler=name),
                                   inputs.sample(["the picture"], ["a photo of a", 0, 1], rows=2, steps=8))
    return cases
