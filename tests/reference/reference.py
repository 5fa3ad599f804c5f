"""The reference that golden data comes from: diffusers' and transformers' own modules, driven as the replay contract says.

Nothing random happens here: latents, noise, timesteps and rows are injected.
"""

import dataclasses
import json
import pathlib

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection


@dataclasses.dataclass
class Reference:
    """The modules of one model in one dtype; nothing in them is trainable."""

    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    schedule: DDPMScheduler
    dtype: torch.dtype = torch.float32
    text_encoder_2: CLIPTextModelWithProjection | None = None  # SDXL

    @classmethod
    def load(cls, folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> "Reference":
        # The autoencoder of SD can leave fp16's range: both sides run it in fp32 then.
        vae_dtype = torch.float32 if dtype == torch.float16 else dtype
        parts = [
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype),
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype),
            AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=vae_dtype),
        ]
        second = None
        if (folder / "text_encoder_2").exists():
            second = CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2", dtype=dtype)
            second.eval().requires_grad_(False)
        for part in parts:
            part.eval().requires_grad_(False)
        return cls(*parts, DDPMScheduler.from_pretrained(folder, subfolder="scheduler"), dtype, second)

    @property
    def names(self) -> list[str]:
        """What the tensors of each text encoder end in."""
        return ["", "_2"] if self.text_encoder_2 else [""]

    def encode_text(self, texts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
        """Hidden states [B, T, C] as the UNet gets them, and for SDXL the pooled text [B, C2]. `texts` holds ids, slots
        and rows of each encoder; rows[r] stands wherever slots is r >= 0."""
        if not self.text_encoder_2:
            return self._encoded(self.text_encoder, *texts[0])[0], None
        first = self._encoded(self.text_encoder, *texts[0], output_hidden_states=True)
        second = self._encoded(self.text_encoder_2, *texts[1], output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds

    def _encoded(self, encoder, input_ids: torch.Tensor, slots: torch.Tensor, rows: torch.Tensor, **options):
        learned = slots >= 0

        def splice(module, inputs, output):
            if not len(rows):
                return output
            return torch.where(learned[..., None], rows.to(self.dtype)[slots.clamp(min=0)], output)

        hook = encoder.text_model.embeddings.token_embedding.register_forward_hook(splice)
        try:
            # The id under a slot is ignored: any valid id that ends no prompt does for the table's look-up.
            return encoder(input_ids.masked_fill(learned, 0), **options)
        finally:
            hook.remove()

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor,
                pooled: torch.Tensor | None = None, time_ids: torch.Tensor | None = None) -> torch.Tensor:
        added = None if pooled is None else {"text_embeds": pooled.to(self.dtype), "time_ids": time_ids}
        return self.unet(latents.to(self.dtype), timesteps, text.to(self.dtype), added_cond_kwargs=added).sample


def step_list_rate(text: str, completed: int) -> float:
    """The rate of a step list "rate:end, rate:end, rate" when `completed` optimiser steps are done."""
    for part in text.split(","):
        rate, _, end = part.strip().partition(":")
        if not end or completed < int(end):
            return float(rate)
    raise ValueError(f"the step list {text!r} ends before step {completed + 1}")


def train(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replay kind `train`: the textual-inversion step with everything random injected."""
    micro_steps = len(tensors["timesteps"])
    accumulation = case["grad_accumulation"]
    rows = [torch.nn.Parameter(tensors[f"rows{end}"].clone()) for end in model.names]
    optimiser = torch.optim.AdamW(rows, lr=0.0, betas=(case["beta1"], case["beta2"]), eps=case["eps"],
                                  weight_decay=case["weight_decay"], foreach=False)
    prediction = case["prediction"]
    if prediction == "auto":
        prediction = model.schedule.config.prediction_type
    out: dict[str, list[torch.Tensor]] = {}

    def keep(name: str, tensor: torch.Tensor):
        out.setdefault(name, []).append(tensor.detach().float().clone())

    accumulated = [torch.zeros_like(block) for block in rows]
    for s in range(micro_steps):
        latents, noise, timesteps = (tensors[name][s] for name in ("latents", "noise", "timesteps"))
        noisy = model.schedule.add_noise(latents, noise, timesteps)
        texts = [(tensors[f"input_ids{end}"][s], tensors[f"slots{end}"][s], block)
                 for end, block in zip(model.names, rows)]
        text, pooled = model.encode_text(texts)
        time_ids = tensors["time_ids"][s] if "time_ids" in tensors else None
        predicted = model.predict(noisy, timesteps, text, pooled, time_ids).float()
        target = noise if prediction == "epsilon" else model.schedule.get_velocity(latents, noise, timesteps)
        error = F.mse_loss(predicted, target, reduction="none")
        if "loss_weight" in tensors:
            error = error * tensors["loss_weight"][s]
        loss = error.mean()
        gradients = [torch.zeros_like(block) for block in rows]
        if any((slots >= 0).any() for _, slots, _ in texts):
            gradients = torch.autograd.grad(loss, rows)
        keep("text_hidden", text)
        if pooled is not None:
            keep("pooled", pooled)
        keep("prediction", predicted)
        keep("loss", loss)
        for end, total, gradient in zip(model.names, accumulated, gradients):
            total += gradient / accumulation
            keep(f"grad{end}", gradient)
        if (s + 1) % accumulation == 0:
            completed = s // accumulation
            lr = case["lr"]
            optimiser.param_groups[0]["lr"] = step_list_rate(lr, completed) if isinstance(lr, str) else lr[completed]
            for block, total in zip(rows, accumulated):
                block.grad = total.clone()
            optimiser.step()
            for end, block, total in zip(model.names, rows, accumulated):
                total.zero_()
                keep(f"rows{end}", block)
    return {name: torch.stack(values).contiguous() for name, values in out.items()}


@torch.no_grad()
def vae_encode(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    posterior = model.vae.encode(tensors["pixels"].to(model.vae.dtype)).latent_dist
    return {"mean": posterior.mean.float().contiguous(), "logvar": posterior.logvar.float().contiguous()}


@torch.no_grad()
def vae_decode(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    latents = tensors["latents"] / model.vae.config.scaling_factor
    return {"pixels": model.vae.decode(latents.to(model.vae.dtype)).sample.float().contiguous()}


@torch.no_grad()
def sample(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import samplers

    text, pooled = model.encode_text(
        [(tensors[f"input_ids{end}"], tensors[f"slots{end}"], tensors[f"rows{end}"]) for end in model.names])

    def predict(x: torch.Tensor, timestep: float) -> torch.Tensor:
        """The guided noise (or velocity) prediction at [4, h, w]; linear, so the same as guiding the denoised one."""
        both = model.predict(x.expand(2, *x.shape), torch.tensor([timestep] * 2, dtype=torch.float32), text, pooled,
                             tensors.get("time_ids")).float()
        return both[0] + case["cfg"] * (both[1] - both[0])

    return samplers.run(case["sampler"], predict, tensors["noise"], case["steps"], case.get("eta"),
                        model.schedule.config.prediction_type)


KINDS = {"train": train, "vae_encode": vae_encode, "vae_decode": vae_decode, "sample": sample}


def relative_error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference as a part of that of the expected tensor: the largest difference alone is luck."""
    size = expected.double().square().mean().sqrt().item()
    difference = (result.double() - expected.double()).square().mean().sqrt().item()
    return difference / size if size else difference


def save_case(folder: pathlib.Path, name: str, case: dict, tensors: dict[str, torch.Tensor]):
    """Writes NAME.case.safetensors: the replay contract's input file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.case.safetensors",
              {"neolog.replay": json.dumps(case)})


def load_case(path: pathlib.Path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["neolog.replay"]), {key: file.get_tensor(key) for key in file.keys()}


COARSE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def write_goldens(folder: pathlib.Path, model_folder: pathlib.Path, cases: dict[str, tuple[dict, dict]]):
    """Writes every case, what the reference computes for it in fp32, and bf16_errors.json and fp16_errors.json: how far
    the reference's own run in that type is from it, per case and tensor (relative_error). The
    error of a handful of losses is luck, so every case gets the largest one of all cases for it."""
    exact = Reference.load(model_folder)
    expected = {}
    for name, (case, tensors) in cases.items():
        save_case(folder, name, case, tensors)
        expected[name] = KINDS[case["kind"]](exact, case, tensors)
        save_file(expected[name], folder / f"{name}.expected.safetensors")
    for type_name, dtype in COARSE.items():
        coarse = Reference.load(model_folder, dtype)
        errors: dict[str, dict[str, float]] = {}
        for name, (case, tensors) in cases.items():
            result = KINDS[case["kind"]](coarse, case, tensors)
            errors[name] = {key: float(f"{relative_error(result[key], value):.3g}")
                            for key, value in expected[name].items()}
            print(type_name, name, {key: (tuple(v.shape), f"max {v.abs().max():.3g}", f"{errors[name][key]:.2g}")
                                    for key, v in expected[name].items()}, flush=True)
        worst_loss = max(error.get("loss", 0.0) for error in errors.values())
        for error in errors.values():
            if "loss" in error:
                error["loss"] = worst_loss
        (folder / f"{type_name}_errors.json").write_text(json.dumps(errors, indent=1) + "\n")
