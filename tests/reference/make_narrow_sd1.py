"""Writes tests/golden/narrow_sd1: a narrow random SD 1.x model and replay cases with what the reference computes.

    python make_narrow_sd1.py

The model has every part of SD 1.x at a small width: both kinds of down and up block, cross attention at two levels and
in the middle, a VAE of factor 8 with attention in the middle. Weights come from seeded_weights.py.
"""

import json
import pathlib
import shutil

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

import reference
import seeded_weights
from narrow import POSITIONS, ROOT, Inputs, build_tokenizer, train_case, twenty_steps, vae_cases

GOLDEN = ROOT / "tests" / "golden" / "narrow_sd1"
SEED = 20240501
WIDTH = 32


def build_model(folder: pathlib.Path):
    """Saves the model to `folder` in fp32 and returns its tokenizer."""
    tokenizer = build_tokenizer()
    end = len(tokenizer) - 1
    text_encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=POSITIONS, hidden_act="quick_gelu", projection_dim=WIDTH,
        bos_token_id=end - 1, eos_token_id=end, pad_token_id=end))
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 48), layers_per_block=1, cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4, norm_num_groups=16)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=64, scaling_factor=0.18215)
    for part, name in ((text_encoder, "text_encoder"), (unet, "unet"), (vae, "vae")):
        seeded_weights.fill(part, name, SEED)
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                             num_train_timesteps=1000, clip_sample=False, prediction_type="epsilon", steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=schedule, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)
    return tokenizer


def train_cases(inputs: Inputs) -> dict[str, tuple[dict, dict]]:
    word = [0, 1]  # a word of two rows, written as usual: all of them, side by side, in order
    usual = [[["a photo of a", *word], ["a rendering of the", *word, "on a thing"]]] * 4
    cases = {"train": (train_case(4), inputs.train(usual, rows=2))}

    tensors = inputs.train([[["a photo of a", 0], ["the", 0, "picture"]]] * 4, rows=1, height=8, width=16)
    tensors["loss_weight"] = torch.rand(4, 2, 1, 8, 16, generator=inputs.generator) * 2
    tensors["loss_weight"][1, 0, 0, :3] = 0
    cases["train_loss_weight"] = (train_case(4), tensors)

    # Rows out of order, repeated, side by side, at the first and the last position a prompt has; a row that no prompt
    # uses; and a micro-step without any slot.
    odd = [
        [[2, "a photo", 0, 0, "of a", 2], ["a", 2, 0, 2, 0]],
        [["a photo of a thing"], [""]],
        [[2] * 76, ["on " * 74, 0, 2]],
        [["a photo of a thing"], ["the thing", 0]],
    ]
    cases["train_odd_slots"] = (train_case(4, accumulation=2, lr=[5e-3, 2e-3], weight_decay=0.0),
                                inputs.train(odd, rows=3))
    cases["train_v_prediction"] = (train_case(2, prediction="v_prediction"), inputs.train(usual[:2], rows=2))
    cases["train_step_list"] = (train_case(6, lr="1e-2:2, 5e-3:4, 0.001", eps=1e-4),
                                inputs.train([[["a photo of a", 0]]] * 6, rows=1))

    cases["train_20_steps"] = twenty_steps(inputs, accumulation=2)
    return cases


def sample_cases(inputs: Inputs) -> dict[str, tuple[dict, dict]]:
    cases = {}
    for name, changes in {
            "ddim": dict(sampler="ddim"), "ddim_eta": dict(sampler="ddim", eta=0.5),
            "euler_a": dict(sampler="euler_a"), "euler_a_eta": dict(sampler="euler_a", eta=0.6)}.items():
        cases[f"sample_{name}"] = (dict(kind="sample", steps=10, cfg=3.0, **changes),
                                   inputs.sample(["the picture"], ["a photo of a", 0, 1], rows=2, steps=10))
    # No learned rows at all: K = 0.
    case, tensors = cases["sample_ddim"]
    plain = torch.stack([inputs.prompt([""])[0], inputs.prompt(["a photo of the thing"])[0]])
    cases["sample_no_rows"] = (case, {**tensors, "input_ids": plain, "slots": torch.full_like(plain, -1),
                                      "rows": torch.zeros(0, WIDTH)})
    return cases


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.glob("*.safetensors"):
        old.unlink()
    tokenizer = build_model(GOLDEN / "model")
    inputs = Inputs(tokenizer, SEED, [WIDTH], [tokenizer.eos_token_id])
    reference.write_goldens(GOLDEN, GOLDEN / "model",
                            {**train_cases(inputs), **vae_cases(inputs), **sample_cases(inputs)})
    size = sum(f.stat().st_size for f in GOLDEN.rglob("*") if f.is_file())
    print(json.dumps({"bytes": size, "vocabulary": len(tokenizer)}))


if __name__ == "__main__":
    main()
