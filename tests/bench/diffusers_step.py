"""diffusers' own textual-inversion step on a model folder and pictures: the other side of step_vs_diffusers.py.

It does what examples/textual_inversion/textual_inversion.py of diffusers 0.36 does: accelerate, the whole token table in
AdamW, the VAE at every step, the text encoder in fp32 (autocast in bf16), the table's other rows put back after every
step. Prints one JSON line {"step": n, "seconds": s, "loss": l} after every step.
"""

import argparse
import json
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

PROMPTS = ("a photo of a {}", "a rendering of a {}", "a cropped photo of the {}", "the photo of a {}")
PLACEHOLDER = "<zesko>"


class Pictures(torch.utils.data.Dataset):
    """Pictures of a folder, decoded at every access as the example does, repeated 100 times."""

    def __init__(self, folder: pathlib.Path, resolution: int, tokenizer: CLIPTokenizer):
        self.paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        if not self.paths:
            raise SystemExit(f"{folder}: no pictures (.png, .jpg, .webp)")
        self.resolution, self.tokenizer = resolution, tokenizer

    def __len__(self):
        return 100 * len(self.paths)

    def __getitem__(self, index):
        image = Image.open(self.paths[index % len(self.paths)]).convert("RGB")
        image = image.resize((self.resolution, self.resolution), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
        ids = self.tokenizer(random.choice(PROMPTS).format(PLACEHOLDER), padding="max_length", truncation=True,
                             max_length=self.tokenizer.model_max_length, return_tensors="pt").input_ids[0]
        return {"pixels": pixels, "ids": ids}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--pictures", type=pathlib.Path, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    accelerator = Accelerator(mixed_precision="bf16" if args.precision == "bf16" else "no", cpu=True)
    tokenizer = CLIPTokenizer.from_pretrained(args.model, subfolder="tokenizer")
    schedule = DDPMScheduler.from_pretrained(args.model, subfolder="scheduler")
    encoder = CLIPTextModel.from_pretrained(args.model, subfolder="text_encoder", dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(args.model, subfolder="vae", torch_dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", torch_dtype=torch.float32)

    tokenizer.add_tokens([PLACEHOLDER])
    learned = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    encoder.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        table = encoder.get_input_embeddings().weight
        table[learned] = table[tokenizer.encode("a", add_special_tokens=False)[0]]
    vae.requires_grad_(False)
    unet.requires_grad_(False)
    text = encoder.text_model
    for part in (text.encoder, text.final_layer_norm, text.embeddings.position_embedding):
        part.requires_grad_(False)

    optimiser = torch.optim.AdamW(encoder.get_input_embeddings().parameters(), lr=5e-4, betas=(0.9, 0.999),
                                  weight_decay=1e-2, eps=1e-8)
    loader = torch.utils.data.DataLoader(Pictures(args.pictures, args.resolution, tokenizer), batch_size=args.batch,
                                         shuffle=True)
    rate = get_scheduler("constant", optimizer=optimiser, num_warmup_steps=0, num_training_steps=args.steps)
    encoder.train()
    encoder, optimiser, loader, rate = accelerator.prepare(encoder, optimiser, loader, rate)
    weight_dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    unet.to(accelerator.device, dtype=weight_dtype)
    vae.to(accelerator.device, dtype=weight_dtype)
    kept = accelerator.unwrap_model(encoder).get_input_embeddings().weight.data.clone()
    others = torch.ones(len(tokenizer), dtype=torch.bool)
    others[learned] = False

    done = 0
    while done < args.steps:
        began = time.monotonic()
        for batch in loader:
            with accelerator.accumulate(encoder):
                latents = vae.encode(batch["pixels"].to(weight_dtype)).latent_dist.sample().detach()
                latents = latents * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                timesteps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),)).long()
                noisy = schedule.add_noise(latents, noise, timesteps)
                hidden = encoder(batch["ids"])[0].to(weight_dtype)
                predicted = unet(noisy, timesteps, hidden).sample
                loss = F.mse_loss(predicted.float(), noise.float())
                accelerator.backward(loss)
                optimiser.step()
                rate.step()
                optimiser.zero_grad()
                with torch.no_grad():
                    accelerator.unwrap_model(encoder).get_input_embeddings().weight[others] = kept[others]
            done += 1
            print(json.dumps({"step": done, "seconds": round(time.monotonic() - began, 4), "loss": loss.item()}),
                  flush=True)
            if done == args.steps:
                break
            began = time.monotonic()


if __name__ == "__main__":
    main()
