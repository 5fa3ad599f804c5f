"""Textual inversion of held-out objects on the demo's tiny model with the reference, judged: is the model good enough?

    python evaluate_tiny_model.py --model configs/demo/model --objects tuning --rate 3e-2 --steps 350 --batch 4
    python evaluate_tiny_model.py --model configs/demo/model --objects report --seeds 3       # once settings are chosen

All objects and seeds are trained together in one batch; the UNet is frozen, so they do not touch each other. Pictures
are drawn with DDIM. Prints one JSON object: the share of pictures in which the judge sees all three attributes of the
object, in training contexts ("a photo of a ...") and on backgrounds that no learning picture has, before and after, and
the same for the object's description: what the model can do at best. The settings are chosen on the tuning objects and
never on the report objects.
"""

import argparse
import json
import math
import pathlib
import random
import sys
import time

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from transformers import CLIPTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "configs" / "demo"), str(ROOT / "tests" / "judge")]

import reference  # noqa: E402
import samplers  # noqa: E402
import train_judge  # noqa: E402
import world  # noqa: E402


class Words:
    """One learned word of K rows per object and seed, and prompts in which it stands."""

    def __init__(self, model: reference.Reference, tokenizer: CLIPTokenizer, count: int, rows: int, initial: str):
        self.model, self.tokenizer, self.rows_each = model, tokenizer, rows
        start = tokenizer(initial, add_special_tokens=False).input_ids[0]
        table = model.text_encoder.get_input_embeddings().weight
        self.rows = torch.nn.Parameter(table[start].repeat(count * rows, 1).clone())

    def encode(self, prompts: list[str], words: list[int] | None = None) -> torch.Tensor:
        """Text states of prompts; "{}" in prompt i stands for word words[i]."""
        ids = torch.full((len(prompts), 77), self.tokenizer.eos_token_id)
        slots = torch.full((len(prompts), 77), -1)
        for i, prompt in enumerate(prompts):
            before, found, after = prompt.partition("{}")
            left = [self.tokenizer.bos_token_id] + self.tokenizer(before, add_special_tokens=False).input_ids
            right = self.tokenizer(after, add_special_tokens=False).input_ids
            middle = self.rows_each if found else 0
            sequence = left + [0] * middle + right
            ids[i, :len(sequence)] = torch.tensor(sequence)
            for k in range(middle):
                slots[i, len(left) + k] = words[i] * self.rows_each + k
        return self.model.encode_text(ids, slots, self.rows)


def predict(model: reference.Reference, x, t, text, bf16: bool):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return model.unet(x, t, text).sample.float()


def train(model: reference.Reference, words: Words, objects: list[int], seeds: int, args) -> float:
    """Trains word i * seeds + s on object i with seed s; returns seconds."""
    with torch.no_grad():
        latents = torch.stack([model.vae.encode(train_judge.to_input(world.learning_pictures(o))).latent_dist.mean
                               for o in objects]) * model.vae.config.scaling_factor
    count = len(objects) * seeds
    which = torch.arange(count).repeat_interleave(args.batch)
    of_object = which // seeds
    generator, chooser = torch.Generator().manual_seed(args.seed), random.Random(args.seed)
    optimiser = torch.optim.AdamW([words.rows], lr=args.rate, weight_decay=0.0)
    began = time.monotonic()
    for step in range(args.steps):
        # Warm-up of 10 steps, then cosine to a tenth of the rate.
        optimiser.param_groups[0]["lr"] = args.rate * min(1, (step + 1) / 10) * (
            0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        picture = torch.randint(0, latents.shape[1], (len(which),), generator=generator)
        t = torch.randint(0, 1000, (len(which),), generator=generator)
        x = latents[of_object, picture]
        noise = torch.randn(x.shape, generator=generator)
        text = words.encode([chooser.choice(world.TEMPLATES) for _ in which], which.tolist())
        error = (predict(model, model.schedule.add_noise(x, noise, t), t, text, args.bf16) - noise).pow(2)
        loss = error.mean((1, 2, 3)).sum() / args.batch
        words.rows.grad, = torch.autograd.grad(loss, words.rows)
        optimiser.step()
    return time.monotonic() - began


@torch.no_grad()
def draw(model: reference.Reference, text: torch.Tensor, nothing: torch.Tensor, args, seed: int) -> torch.Tensor:
    """uint8 [N, 64, 64, 3]."""
    pictures = []
    generator = torch.Generator().manual_seed(seed)
    for part in text.split(32):
        n = len(part)
        both = torch.cat([nothing.expand(n, -1, -1), part])

        def guided(x, timestep):
            out = predict(model, torch.cat([x, x]), torch.full((2 * n,), timestep), both, args.bf16)
            return out[:n] + args.cfg * (out[n:] - out[:n])

        noise = torch.randn(args.draw_steps + 1, n, 4, 16, 16, generator=generator)
        x = samplers.run(args.sampler, guided, noise, args.draw_steps, args.eta, "epsilon")["latents"]
        y = model.vae.decode(x / model.vae.config.scaling_factor).sample
        pictures.append(((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(pictures)


@torch.no_grad()
def judged(judge, pictures: torch.Tensor, objects: list[int], backgrounds: list[int] | None = None) -> dict:
    """Shares of pictures: all three attributes right, each alone, and the background if one was asked for."""
    said = judge(train_judge.to_input(pictures.numpy())).split(train_judge.SIZES, 1)
    wanted = train_judge.labels(np.array(objects), np.array(backgrounds or [0] * len(objects)))
    right = torch.stack([s.argmax(1) == wanted[:, k] for k, s in enumerate(said)], 1).float()
    result = dict(all_three=right[:, :3].prod(1).mean().item(), shape=right[:, 0].mean().item(),
                  colour=right[:, 1].mean().item(), pattern=right[:, 2].mean().item())
    if backgrounds:
        result["background"] = right[:, 3].mean().item()
    return {key: round(value, 3) for key, value in result.items()}


def cells(model, judge, encode, objects: list[int], nothing, args) -> tuple[dict, list[torch.Tensor]]:
    """Both contexts for objects[i] with text from encode(prompts, indices)."""
    index = [i for i in range(len(objects)) for _ in range(args.pictures)]
    new = [world.NEW_BACKGROUNDS[k % len(world.NEW_BACKGROUNDS)] for k in range(len(index))]
    wanted = [objects[i] for i in index]
    usual = draw(model, encode(["a photo of a {}"] * len(index), index), nothing, args, 3)
    fresh = draw(model, encode([world.on_background("a photo of a {}", b) for b in new], index), nothing, args, 4)
    return {"training contexts": judged(judge, usual, wanted),
            "new backgrounds": judged(judge, fresh, wanted, new)}, [usual, fresh]


def write_grid(path: pathlib.Path, columns: list[torch.Tensor], objects: list[int], per: int):
    """One row per object: a learning picture, then the pictures of every column."""
    from PIL import Image
    rows = []
    for i, obj in enumerate(objects):
        row = [torch.from_numpy(world.learning_pictures(obj)[0])]
        for column in columns:
            row += list(column[i * per:(i + 1) * per][:8])
        rows.append(torch.cat(row, 1))
    Image.fromarray(torch.cat(rows, 0).numpy()).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--objects", choices=("tuning", "report"), default="tuning")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-2)
    parser.add_argument("--steps", type=int, default=350, help="0: only the description and the word before training")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--initial", default="thing")
    parser.add_argument("--pictures", type=int, default=8, help="per word and context")
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--draw-steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--more-cfg", type=float, nargs="*", default=[], help="the trained words at other guidances too")
    parser.add_argument("--eta", type=float, default=0.0)
    parser.add_argument("--bf16", action="store_true", help="UNet in bfloat16 autocast, faster")
    parser.add_argument("--grid", type=pathlib.Path, help="PNG file of the pictures after training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = reference.Reference.load(args.model)
    model.unet.set_attn_processor(AttnProcessor())
    tokenizer = CLIPTokenizer.from_pretrained(args.model, subfolder="tokenizer")
    judge = train_judge.Judge(normalised=False)
    judge.load_state_dict(load_file(ROOT / "tests" / "judge" / "judge.safetensors"))
    held_out = list(world.TUNING if args.objects == "tuning" else world.REPORT)
    repeated = [o for o in held_out for _ in range(args.seeds)]
    words = Words(model, tokenizer, len(repeated), args.rows, args.initial)
    with torch.no_grad():
        nothing = words.encode([""])
    report = {"settings": {k: str(v) for k, v in vars(args).items() if k not in ("model", "grid")}}
    with torch.no_grad():
        report["description"], _ = cells(
            model, judge, lambda prompts, index: words.encode(
                [p.format(world.description(held_out[i])) for p, i in zip(prompts, index)]), held_out, nothing, args)
        report["before"], _ = cells(model, judge, words.encode, held_out, nothing, args)
    if args.steps:
        report["seconds"] = round(train(model, words, held_out, args.seeds, args), 1)
        with torch.no_grad():
            report["after"], pictures = cells(model, judge, words.encode, repeated, nothing, args)
        report["per word"] = {
            f"{world.description(o)} #{i % args.seeds}": [
                judged(judge, p[i * args.pictures:(i + 1) * args.pictures], [o] * args.pictures)["all_three"]
                for p in pictures] for i, o in enumerate(repeated)}
        for cfg in args.more_cfg:
            with torch.no_grad():
                report[f"after, cfg {cfg:g}"], _ = cells(model, judge, words.encode, repeated, nothing,
                                                         argparse.Namespace(**{**vars(args), "cfg": cfg}))
        report["norm of rows"] = round(words.rows.detach().norm(dim=1).mean().item(), 2)
        if args.grid:
            write_grid(args.grid, pictures, repeated, args.pictures)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
