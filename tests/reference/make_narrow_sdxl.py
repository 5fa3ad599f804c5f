"""Writes tests/golden/narrow_sdxl: the configuration of a narrow SDXL model and replay cases with what the reference computes.

    python make_narrow_sdxl.py

Two text encoders with their next-to-last layers side by side, pooled text, size and crop conditioning, a UNet without
attention at the top and with deep transformers below. Weights are not kept: seeded_weights.py makes them again.
"""

import json
import pathlib
import shutil
import tempfile

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import reference
import seeded_weights
from narrow import POSITIONS, ROOT, Inputs, build_tokenizer, usual_cases

GOLDEN = ROOT / "tests" / "golden" / "narrow_sdxl"
SEED = 20240503
WIDTHS = [64, 128]
POOLED, TIME_WIDTH = 128, 32


def build_model(folder: pathlib.Path):
    """Saves the model to `folder` in fp32 and returns its first tokenizer."""
    tokenizer, tokenizer_2 = build_tokenizer(), build_tokenizer()
    tokenizer_2.pad_token = "!"
    end = len(tokenizer) - 1
    usual = dict(vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, bos_token_id=end - 1, eos_token_id=end)
    text_encoder = CLIPTextModel(CLIPTextConfig(
        hidden_size=WIDTHS[0], intermediate_size=4 * WIDTHS[0], num_hidden_layers=3, num_attention_heads=1,
        hidden_act="quick_gelu", projection_dim=WIDTHS[0], pad_token_id=end, **usual))
    text_encoder_2 = CLIPTextModelWithProjection(CLIPTextConfig(
        hidden_size=WIDTHS[1], intermediate_size=4 * WIDTHS[1], num_hidden_layers=3, num_attention_heads=2,
        hidden_act="gelu", projection_dim=POOLED, pad_token_id=0, **usual))
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(64, 64, 128), layers_per_block=1, cross_attention_dim=sum(WIDTHS),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2), attention_head_dim=(1, 1, 2), use_linear_projection=True,
        norm_num_groups=32, addition_embed_type="text_time", addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=POOLED + 6 * TIME_WIDTH)
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 64), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=32,
        sample_size=64, scaling_factor=0.13025)
    for part, name in ((text_encoder, "text_encoder"), (text_encoder_2, "text_encoder_2"), (unet, "unet"),
                       (vae, "vae")):
        seeded_weights.fill(part, name, SEED)
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                             num_train_timesteps=1000, clip_sample=False, prediction_type="epsilon", steps_offset=1)
    StableDiffusionXLPipeline(
        vae=vae, text_encoder=text_encoder, text_encoder_2=text_encoder_2, tokenizer=tokenizer,
        tokenizer_2=tokenizer_2, unet=unet, scheduler=schedule).save_pretrained(folder)
    return tokenizer


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = pathlib.Path(scratch) / "model"
        tokenizer = build_model(model)
        end = tokenizer.eos_token_id
        reference.write_goldens(GOLDEN, model, usual_cases(Inputs(tokenizer, SEED, WIDTHS, [end, 0])))
        shutil.copytree(model, GOLDEN / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (GOLDEN / "model" / "seed.json").write_text(json.dumps({"seed": SEED}) + "\n")


if __name__ == "__main__":
    main()
