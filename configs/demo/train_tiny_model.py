"""Trains the demo's tiny Stable Diffusion model on pictures of world.py and exports it as a diffusers folder.

    python train_tiny_model.py --out OUT                       # everything from nothing: VAE, text encoder, UNet, export
    python train_tiny_model.py --out OUT --from model          # start every stage from existing weights
    python train_tiny_model.py --out OUT --steps text=0 --from model   # take the text encoder as it is

Stages run in order; a finished stage is a folder in OUT and is skipped. An unfinished one goes on from its checkpoint
in OUT, so the command can be stopped and repeated at will. Every stage is budgeted in optimiser steps (`--steps`);
`--processes 2` runs two single-threaded data-parallel processes, which on CPU beats two threads. Runs are not
bit-reproducible across interruptions: data order restarts from a new seed at each resumption.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import torch
import torch.distributed
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import tokenizer as word_tokenizer
import world

SCALING_FACTOR = 0.18215  # as Stable Diffusion's; the VAE's quantisation convolutions are scaled to fit it
STAGES = ("vae", "text", "unet", "export")
DEFAULT_STEPS = {"vae": 6000, "text": 600, "unet": 12000}
NOISE_SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                      clip_sample=False, prediction_type="epsilon", steps_offset=1)


class Team:
    """The data-parallel processes of one training: rank, size, and averaging of gradients."""

    def __init__(self):
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            torch.distributed.init_process_group("gloo", init_method="file://" + os.environ["RENDEZVOUS"],
                                                 rank=self.rank, world_size=self.size)

    def average_gradients(self, parameters: list[nn.Parameter]):
        if self.size == 1:
            return
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            p.grad.copy_(part.view_as(p))

    def wait(self):
        if self.size > 1:
            torch.distributed.barrier()

    def log(self, message: str):
        if self.rank == 0:
            print(time.strftime("%H:%M:%S"), message, flush=True)


class Training:
    """AdamW with warm-up and cosine decay over a step budget, an average of the weights, and a resumable checkpoint."""

    def __init__(self, team: Team, checkpoint: pathlib.Path, modules: dict[str, nn.Module], groups: list[dict],
                 learning_rate: float, steps: int, average: float, warm_up: int):
        self.team, self.checkpoint, self.modules, self.steps = team, checkpoint, modules, steps
        self.learning_rate, self.average, self.warm_up = learning_rate, average, warm_up
        self.parameters = [p for group in groups for p in group["params"]]
        self.factors = [group.pop("factor", 1.0) for group in groups]
        self.optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
        self.step = 0
        self.averaged = [p.detach().clone() for p in self.parameters]
        self.saved_at = time.monotonic()
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            self.optimiser.load_state_dict(state["optimiser"])
            self.averaged, self.step = state["averaged"], state["step"]
            team.log(f"resuming {checkpoint.stem} at step {self.step}")
        torch.manual_seed(1_000_003 * self.step + team.rank)
        random.seed(1_000_003 * self.step + team.rank)

    def done(self) -> bool:
        return self.step >= self.steps

    def apply(self, loss: torch.Tensor):
        """One optimiser step on the gradient of `loss`, averaged over the team and clipped to norm 1."""
        progress = self.step / self.steps
        rate = self.learning_rate * min(1, (self.step + 1) / self.warm_up)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group, factor in zip(self.optimiser.param_groups, self.factors):
            group["lr"] = rate * factor
        self.optimiser.zero_grad()
        loss.backward()
        self.team.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_mul_(self.averaged, decay)
            torch._foreach_add_(self.averaged, [p.detach() for p in self.parameters], alpha=1 - decay)
        if self.team.rank == 0 and time.monotonic() - self.saved_at > 60:
            self.save()

    def save(self):
        state = dict(modules={name: m.state_dict() for name, m in self.modules.items()},
                     optimiser=self.optimiser.state_dict(), averaged=self.averaged, step=self.step)
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        os.replace(unfinished, self.checkpoint)
        self.saved_at = time.monotonic()

    def use_average(self):
        with torch.no_grad():
            for p, a in zip(self.parameters, self.averaged):
                p.copy_(a)


def to_input(pictures) -> torch.Tensor:
    """uint8 [N, H, W, 3] (numpy) -> float [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def publish(folder: pathlib.Path, write):
    """Makes `folder` by calling write(path) on a temporary one and renaming it, so that it is whole or absent."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write(part)
    part.rename(folder)


# ---------------------------------------------------------------------------------------------------------------- VAE


def new_vae() -> AutoencoderKL:
    """4x VAE, 0.68 M parameters, 16x16x4 latents."""
    vae = AutoencoderKL(block_out_channels=(16, 32, 64), down_block_types=("DownEncoderBlock2D",) * 3,
                        up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, latent_channels=4,
                        norm_num_groups=8, sample_size=world.SIZE, scaling_factor=SCALING_FACTOR)
    with torch.no_grad():  # start with little posterior noise, or it drowns the latents
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -6.0
    return vae


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in x.split(64)])


def reconstruction_psnr(vae: AutoencoderKL, x: torch.Tensor) -> float:
    """Mean over pictures of the PSNR in dB of reconstructions from posterior means."""
    error = ((reconstruct(vae, x).clamp(-1, 1) - x) / 2).pow(2).mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, x: torch.Tensor):
    """Folds a per-channel shift and scale into quant_conv and post_quant_conv: mean 0, deviation 1 after scaling."""
    z = torch.cat([vae.encode(part).latent_dist.mean for part in x.split(64)])
    mean, gain = z.mean((0, 2, 3)), 1 / (SCALING_FACTOR * z.std((0, 2, 3)))
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight /= gain.view(1, 4, 1, 1)
    before.weight[:4] *= gain.view(4, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - mean) * gain
    before.bias[4:] += 2 * gain.log()


def train_vae(args, team: Team):
    vae = (AutoencoderKL.from_pretrained(args.start, subfolder="vae", torch_dtype=torch.float32)
           if args.start else new_vae())
    vae.set_attn_processor(AttnProcessor())
    training = Training(team, args.out / "vae.ckpt", {"vae": vae}, [dict(params=list(vae.parameters()))],
                        args.rate["vae"], args.steps["vae"], average=0.998, warm_up=100)
    pictures, _, _ = world.data_set(40, seed=100 + team.rank)
    held_out = to_input(world.data_set(1, seed=999)[0])
    began, total = time.monotonic(), 0.0
    while not training.done():
        x = to_input(pictures[torch.randint(0, len(pictures), (8,)).numpy()])
        if random.random() < 0.5:
            x = x.flip(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        y, mean, logvar = y.float(), posterior.mean.float(), posterior.logvar.float()
        # The prior is on latents times the scaling factor, so that the weight means the same before and after folding.
        shift = 2 * math.log(SCALING_FACTOR) if args.start else 0.0
        mean = mean * SCALING_FACTOR if args.start else mean
        divergence = 0.5 * (mean.pow(2) + (logvar + shift).exp() - 1 - logvar - shift).mean()
        loss = F.mse_loss(y, x) + 0.25 * F.l1_loss(y, x) + 1e-5 * divergence
        training.apply(loss)
        total += loss.item()
        if training.step % 100 == 0:
            message = f"vae {training.step}/{training.steps} {time.monotonic() - began:.0f}s loss {total / 100:.5f}"
            if training.step % 500 == 0 and team.rank == 0:
                message += f" PSNR {reconstruction_psnr(vae.eval(), held_out):.2f} dB (weights not averaged)"
                vae.train()
            team.log(message)
            total = 0.0
    training.use_average()
    vae.eval()
    if team.rank == 0:
        normalise_latents(vae, to_input(pictures[::10]))
        team.log(f"vae: {reconstruction_psnr(vae, held_out):.2f} dB on pictures it has not seen")
        publish(args.out / "vae", vae.save_pretrained)


# ------------------------------------------------------------------------------------------------------- text encoder


def new_text_encoder(vocabulary: int) -> CLIPTextModel:
    """CLIP text model of width 96 and 3 layers, 0.46 M parameters."""
    config = CLIPTextConfig(vocab_size=vocabulary, hidden_size=96, intermediate_size=384, num_hidden_layers=3,
                            num_attention_heads=4, max_position_embeddings=77, hidden_act="quick_gelu",
                            projection_dim=96, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1,
                            pad_token_id=vocabulary - 1)
    encoder = CLIPTextModel._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        encoder.text_model.embeddings.token_embedding.weight.normal_(0, 0.22)
        encoder.text_model.embeddings.position_embedding.weight.normal_(0, 0.05)
    return encoder


class Captions:
    """Token ids of captions, padded to 77 with the end token, as CLIP's; remembered."""

    def __init__(self, tokenizer: CLIPTokenizer):
        self.tokenizer, self.known = tokenizer, {}

    def __call__(self, captions: list[str]) -> torch.Tensor:
        for caption in captions:
            if caption not in self.known:
                self.known[caption] = torch.tensor(self.tokenizer(
                    caption, padding="max_length", truncation=True, max_length=77).input_ids)
        return torch.stack([self.known[caption] for caption in captions])


def perturb_embeddings(encoder: CLIPTextModel, deviation: float):
    """Adds N(0, deviation) to every token embedding: learned rows are never exactly a word. Returns the hook."""
    return encoder.text_model.embeddings.token_embedding.register_forward_hook(
        lambda module, inputs, output: output + deviation * torch.randn_like(output))


def random_context(chance: float) -> tuple[str, int]:
    """A template, maybe with a background, and the background's index (number of backgrounds: none)."""
    background = random.randrange(len(world.BACKGROUNDS)) if random.random() < chance else len(world.BACKGROUNDS)
    phrase = random.choice(world.TEMPLATES)
    return (world.on_background(phrase, background) if background < len(world.BACKGROUNDS) else phrase), background


def train_text(args, team: Team):
    """Teaches the encoder what captions say: shape, colour, pattern and background from several output positions."""
    tokens = word_tokenizer.build(args.out / f"tokenizer-{team.rank}")
    encode_ids = Captions(tokens)
    encoder = (CLIPTextModel.from_pretrained(args.start, subfolder="text_encoder", attn_implementation="eager",
                                             dtype=torch.float32) if args.start else new_text_encoder(len(tokens)))
    encoder.train()
    none = (len(world.SHAPES), len(world.COLOURS), len(world.PATTERNS), len(world.BACKGROUNDS))
    sizes = [n + 1 for n in none]  # one more class each: not said
    heads = nn.Linear(encoder.config.hidden_size, sum(sizes))
    table = encoder.text_model.embeddings.token_embedding.weight
    others = [p for p in [*encoder.parameters(), *heads.parameters()] if p is not table]
    training = Training(team, args.out / "text.ckpt", {"encoder": encoder, "heads": heads},
                        [dict(params=others), dict(params=[table], factor=4.0, weight_decay=0.0)],
                        args.rate["text"], args.steps["text"], average=0.98, warm_up=30)
    hook = perturb_embeddings(encoder, 0.08)
    batch, began, total, right = 40, time.monotonic(), 0.0, 0.0

    def labels(obj, background):
        a = world.attributes(obj)
        return a.shape, a.colour, a.pattern, background

    while not training.done():
        named, described, wanted = [], [], []
        for _ in range(batch):
            context, background = random_context(0.6)
            obj = random.choice(world.NAMED)
            named.append(context.format(world.NOUNS[obj]))
            described.append(context.format(world.description(obj)))
            wanted.append(labels(obj, background))
        others_said, others_wanted = [], []
        for _ in range(batch // 3):
            context, background = random_context(0.6)
            if random.random() < 0.25:
                others_said.append(context.format(random.choice(["thing", "object"])))
                others_wanted.append((*none[:3], background))
            else:
                obj = random.choice(world.DESCRIBED)
                others_said.append(context.format(world.description(obj)))
                others_wanted.append(labels(obj, background))
        ids = encode_ids(named + described + others_said)
        target = torch.tensor(wanted + wanted + others_wanted)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            hidden = encoder(ids)[0]
        hidden = hidden.float()
        end = (ids == encoder.config.eos_token_id).float().argmax(1)
        positions = torch.stack([end, end + 1 + torch.randint(0, 8, end.shape), torch.randint(27, 77, end.shape)], 1)
        said = heads(hidden[torch.arange(len(ids))[:, None], positions]).split(sizes, -1)
        loss = sum(F.cross_entropy(s.flatten(0, 1), target[:, k].repeat_interleave(3)) for k, s in enumerate(said))
        # A noun means what its description means.
        loss = loss + (hidden[:batch, 27:] - hidden[batch:2 * batch, 27:].detach()).pow(2).mean()
        training.apply(loss)
        total += loss.item()
        right += sum((s[:batch, 2].argmax(-1) == target[:batch, k]).float().mean().item()
                     for k, s in enumerate(said)) / 4
        if training.step % 50 == 0:
            team.log(f"text {training.step}/{training.steps} {time.monotonic() - began:.0f}s loss {total / 50:.4f} "
                     f"attributes of nouns right {right / 50:.3f}")
            total = right = 0.0
    hook.remove()
    training.use_average()
    if team.rank == 0:
        publish(args.out / "text_encoder", encoder.save_pretrained)


# --------------------------------------------------------------------------------------------------------------- UNet


def new_unet() -> UNet2DConditionModel:
    """2.76 M parameters, cross attention at 8x8, 4x4 and in the middle."""
    return UNet2DConditionModel(
        sample_size=world.SIZE // 4, block_out_channels=(32, 64, 96), layers_per_block=1, cross_attention_dim=96,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, norm_num_groups=8)


def caption_of(obj: int, background: int) -> str:
    """A caption of a picture: nothing 10 %, else a name, a description or just "thing", with or without background."""
    if random.random() < 0.1:
        return ""
    phrase = random.choice(world.TEMPLATES)
    if random.random() < 0.6:
        phrase = world.on_background(phrase, background)
    kind = random.random()
    if kind < 0.5 and obj in world.NAMED:
        return phrase.format(world.NOUNS[obj])
    if kind < 0.88:
        return phrase.format(world.description(obj))
    return phrase.format(random.choice(["thing", "object"]))


@torch.no_grad()
def encode_data_set(vae: AutoencoderKL, team: Team, per_object: int, bf16: bool):
    """Posterior means times the scaling factor of pictures of every object but those never seen."""
    pictures, objects, backgrounds = world.data_set(per_object, seed=500 + team.rank)
    latents = []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for k in range(0, len(pictures), 64):
            latents.append(vae.encode(to_input(pictures[k:k + 64])).latent_dist.mean.float() * SCALING_FACTOR)
    keep = torch.tensor([int(o) not in world.NEVER_SEEN for o in objects])
    return (torch.cat(latents)[keep], [int(o) for o, k in zip(objects, keep) if k],
            [int(b) for b, k in zip(backgrounds, keep) if k])


def train_unet(args, team: Team):
    vae = AutoencoderKL.from_pretrained(args.out / "vae").eval().requires_grad_(False)
    vae.set_attn_processor(AttnProcessor())
    encoder = CLIPTextModel.from_pretrained(args.out / "text_encoder", attn_implementation="eager")
    encoder.eval().requires_grad_(False)
    perturb_embeddings(encoder, 0.03)
    encode_ids = Captions(word_tokenizer.build(args.out / f"tokenizer-{team.rank}"))
    unet = (UNet2DConditionModel.from_pretrained(args.start, subfolder="unet", torch_dtype=torch.float32)
            if args.start else new_unet())
    unet.train()
    unet.set_attn_processor(AttnProcessor())  # flash attention's backward costs half the time at these sizes
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    signal_to_noise = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    training = Training(team, args.out / "unet.ckpt", {"unet": unet}, [dict(params=list(unet.parameters()))],
                        args.rate["unet"], args.steps["unet"], average=0.9985, warm_up=150)
    latents, objects, backgrounds = encode_data_set(vae, team, 20, args.bf16)
    team.log(f"latents {tuple(latents.shape)}, deviation {latents.std():.3f}")
    batch, began, total, weighted = 32, time.monotonic(), 0.0, 0.0
    while not training.done():
        index = torch.randint(0, len(latents), (batch,))
        x, noise = latents[index], torch.randn(batch, *latents.shape[1:])
        t = torch.randint(0, 1000, (batch,))
        t[:batch // 2] = 400 + t[:batch // 2] * 3 // 5  # half of them where the object's identity is decided
        ids = encode_ids([caption_of(objects[i], backgrounds[i]) for i in index])
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            with torch.no_grad():
                text = encoder(ids)[0]
            predicted = unet(schedule.add_noise(x, noise, t), t, text).sample
        error = (predicted.float() - noise).pow(2).mean((1, 2, 3))
        loss = (error * torch.clamp(5 / signal_to_noise[t], max=1.0)).mean()  # min-SNR 5
        training.apply(loss)
        total += error.mean().item()
        weighted += loss.item()
        if training.step % 100 == 0:
            team.log(f"unet {training.step}/{training.steps} {time.monotonic() - began:.0f}s "
                     f"error {total / 100:.4f} min-SNR loss {weighted / 100:.4f}")
            total = weighted = 0.0
    training.use_average()
    if team.rank == 0:
        publish(args.out / "unet", unet.eval().save_pretrained)


# ------------------------------------------------------------------------------------------------------------- export


def export(args, team: Team):
    """Writes OUT/model: the three parts in fp16 as a diffusers folder."""
    if team.rank != 0:
        return
    unet = UNet2DConditionModel.from_pretrained(args.out / "unet")
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(args.out / "vae"), unet=unet,
        text_encoder=CLIPTextModel.from_pretrained(args.out / "text_encoder"),
        tokenizer=word_tokenizer.build(args.out / "tokenizer-0"), scheduler=DDPMScheduler(**NOISE_SCHEDULE),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    publish(args.out / "model", pipeline.to(dtype=torch.float16).save_pretrained)
    for path in (args.out / "model").rglob("*.json"):  # where the weights lay is nobody's business
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2) + "\n")
    size = sum(f.stat().st_size for f in (args.out / "model").rglob("*") if f.is_file())
    team.log(f"{args.out / 'model'}: {size / 1e6:.1f} MB")


def take_part(args, team: Team, stage: str):
    """A stage of 0 steps: its part is that of --from, unchanged."""
    folder = {"vae": "vae", "text": "text_encoder", "unet": "unet"}[stage]
    if not args.start:
        raise SystemExit(f"--steps {stage}=0 takes the part from existing weights: give --from too")
    model = {"vae": AutoencoderKL, "text": CLIPTextModel, "unet": UNet2DConditionModel}[stage]
    if team.rank == 0:
        publish(args.out / folder, model.from_pretrained(args.start, subfolder=folder).float().save_pretrained)


def spawn(processes: int, nice: int) -> int:
    """Runs this command once per rank; the first failure ends the others."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the children are ended below
    with tempfile.TemporaryDirectory() as folder:
        children = [
            subprocess.Popen(["nice", "-n", str(nice), sys.executable, *sys.argv],
                             env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(processes),
                                  "RENDEZVOUS": f"{folder}/rendezvous", "OMP_NUM_THREADS": "1"})
            for rank in range(processes)]
        try:
            while all(child.poll() is None for child in children):
                time.sleep(1)
            if any(child.poll() for child in children):
                for child in children:
                    child.terminate()
            return max(abs(child.wait()) for child in children)
        finally:
            for child in children:
                child.kill()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of checkpoints, parts and the model")
    parser.add_argument("--from", dest="start", type=pathlib.Path, help="diffusers folder to start from")
    parser.add_argument("--steps", default="", help="budgets that differ from the defaults, as vae=3000,text=0")
    parser.add_argument("--rate", default="", help="learning rates that differ from the defaults, as unet=6e-4")
    parser.add_argument("--until", choices=STAGES, default="export", help="the last stage to run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16, faster where the CPU has AMX")
    args = parser.parse_args()
    changes = dict(item.split("=") for item in args.steps.split(",") if item)
    args.steps = {**DEFAULT_STEPS, **{stage: int(value) for stage, value in changes.items()}}
    rates = dict(item.split("=") for item in args.rate.split(",") if item)
    args.rate = {"vae": 1.5e-3, "text": 2e-3, "unet": 1.5e-3, **{stage: float(v) for stage, v in rates.items()}}
    return args


def main() -> int:
    args = parse_arguments()
    if args.processes > 1 and "RANK" not in os.environ:
        return spawn(args.processes, args.nice)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    team = Team()
    run = {"vae": train_vae, "text": train_text, "unet": train_unet, "export": export}
    made = {"vae": "vae", "text": "text_encoder", "unet": "unet", "export": "model"}
    for stage in STAGES[:STAGES.index(args.until) + 1]:
        finished = (args.out / made[stage]).exists()
        team.wait()
        if finished:
            team.log(f"{stage}: already there")
        elif stage != "export" and args.steps[stage] == 0:
            take_part(args, team, stage)
        else:
            run[stage](args, team)
        team.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
