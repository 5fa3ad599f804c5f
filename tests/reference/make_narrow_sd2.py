"""Writes tests/golden/narrow_sd2: the configuration of a narrow SD 2.x model and replay cases with what the reference computes.

    python make_narrow_sd2.py

What SD 2 has and SD 1 has not: OpenCLIP's text encoder (gelu, 64 wide heads, prompts filled up with token 0), linear
projections and 64 wide heads in the UNet, velocity prediction. Weights are not kept: seeded_weights.py makes them again.
"""

import json
import pathlib
import shutil
import tempfile

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

import reference
import seeded_weights
from narrow import POSITIONS, ROOT, Inputs, build_tokenizer, usual_cases

GOLDEN = ROOT / "tests" / "golden" / "narrow_sd2"
SEED = 20240502
WIDTH = 64


def build_model(folder: pathlib.Path):
    """Saves the model to `folder` in fp32 and returns its tokenizer."""
    tokenizer = build_tokenizer()
    tokenizer.pad_token = "!"
    end = len(tokenizer) - 1
    text_encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3,
        num_attention_heads=WIDTH // 64, max_position_embeddings=POSITIONS, hidden_act="gelu", projection_dim=WIDTH,
        bos_token_id=end - 1, eos_token_id=end, pad_token_id=0))
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 128), layers_per_block=1, cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(1, 2), use_linear_projection=True, norm_num_groups=32)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 64), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=32,
        sample_size=64, scaling_factor=0.18215)
    for part, name in ((text_encoder, "text_encoder"), (unet, "unet"), (vae, "vae")):
        seeded_weights.fill(part, name, SEED)
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                             num_train_timesteps=1000, clip_sample=False, prediction_type="v_prediction", steps_offset=1)
    StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=schedule, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)
    return tokenizer


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = pathlib.Path(scratch) / "model"
        tokenizer = build_model(model)
        reference.write_goldens(GOLDEN, model, usual_cases(Inputs(tokenizer, SEED, [WIDTH], [0])))
        shutil.copytree(model, GOLDEN / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (GOLDEN / "model" / "seed.json").write_text(json.dumps({"seed": SEED}) + "\n")


if __name__ == "__main__":
    main()
