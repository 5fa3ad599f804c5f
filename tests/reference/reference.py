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
from transformers import CLIPTextModel


@dataclasses.dataclass
class Reference:
    """The modules of one model in one dtype; nothing in them is trainable."""

    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    schedule: DDPMScheduler
    dtype: torch.dtype = torch.float32

    @classmethod
    def load(cls, folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> "Reference":
        parts = [
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype),
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype),
            AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype),
        ]
        for part in parts:
            part.eval().requires_grad_(False)
        return cls(*parts, DDPMScheduler.from_pretrained(folder, subfolder="scheduler"), dtype)

    def encode_text(self, input_ids: torch.Tensor, slots: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The last hidden state after the final norm, [B, T, C], with rows[r] standing wherever slots is r >= 0."""
        learned = slots >= 0

        def splice(module, inputs, output):
            if not len(rows):
                return output
            return torch.where(learned[..., None], rows.to(self.dtype)[slots.clamp(min=0)], output)

        hook = self.text_encoder.text_model.embeddings.token_embedding.register_forward_hook(splice)
        try:
            # The id under a slot is ignored: any valid id does for the table's look-up.
            return self.text_encoder(input_ids.masked_fill(learned, 0))[0]
        finally:
            hook.remove()

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.unet(latents.to(self.dtype), timesteps, text.to(self.dtype)).sample


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
    rows = torch.nn.Parameter(tensors["rows"].clone())
    optimiser = torch.optim.AdamW([rows], lr=0.0, betas=(case["beta1"], case["beta2"]), eps=case["eps"],
                                  weight_decay=case["weight_decay"], foreach=False)
    prediction = case["prediction"]
    if prediction == "auto":
        prediction = model.schedule.config.prediction_type
    out = {name: [] for name in ("text_hidden", "prediction", "loss", "grad", "rows")}
    accumulated = torch.zeros_like(rows)
    for s in range(micro_steps):
        latents, noise, timesteps = (tensors[name][s] for name in ("latents", "noise", "timesteps"))
        noisy = model.schedule.add_noise(latents, noise, timesteps)
        text = model.encode_text(tensors["input_ids"][s], tensors["slots"][s], rows)
        predicted = model.predict(noisy, timesteps, text).float()
        target = noise if prediction == "epsilon" else model.schedule.get_velocity(latents, noise, timesteps)
        error = F.mse_loss(predicted, target, reduction="none")
        if "loss_weight" in tensors:
            error = error * tensors["loss_weight"][s]
        loss = error.mean()
        gradient = torch.zeros_like(rows)
        if (tensors["slots"][s] >= 0).any():
            gradient, = torch.autograd.grad(loss, rows)
        accumulated += gradient / accumulation
        out["text_hidden"].append(text.detach().float())
        out["prediction"].append(predicted.detach())
        out["loss"].append(loss.detach())
        out["grad"].append(gradient)
        if (s + 1) % accumulation == 0:
            completed = s // accumulation
            lr = case["lr"]
            optimiser.param_groups[0]["lr"] = step_list_rate(lr, completed) if isinstance(lr, str) else lr[completed]
            rows.grad = accumulated.clone()
            optimiser.step()
            accumulated.zero_()
            out["rows"].append(rows.detach().clone())
    return {name: torch.stack(values).contiguous() for name, values in out.items()}


@torch.no_grad()
def vae_encode(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    posterior = model.vae.encode(tensors["pixels"].to(model.dtype)).latent_dist
    return {"mean": posterior.mean.float().contiguous(), "logvar": posterior.logvar.float().contiguous()}


@torch.no_grad()
def vae_decode(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    latents = tensors["latents"] / model.vae.config.scaling_factor
    return {"pixels": model.vae.decode(latents.to(model.dtype)).sample.float().contiguous()}


@torch.no_grad()
def sample(model: Reference, case: dict, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import samplers

    text = model.encode_text(tensors["input_ids"], tensors["slots"], tensors["rows"])

    def predict(x: torch.Tensor, timestep: float) -> torch.Tensor:
        """The guided noise (or velocity) prediction at [4, h, w]; linear, so the same as guiding the denoised one."""
        both = model.predict(x.expand(2, *x.shape), torch.tensor([timestep] * 2, dtype=torch.float32), text).float()
        return both[0] + case["cfg"] * (both[1] - both[0])

    return samplers.run(case["sampler"], predict, tensors["noise"], case["steps"], case.get("eta"),
                        model.schedule.config.prediction_type)


KINDS = {"train": train, "vae_encode": vae_encode, "vae_decode": vae_decode, "sample": sample}


def relative_error(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference as a part of the expected tensor's largest magnitude."""
    largest = expected.abs().max().item()
    difference = (result - expected).abs().max().item()
    return difference / largest if largest else difference


def save_case(folder: pathlib.Path, name: str, case: dict, tensors: dict[str, torch.Tensor]):
    """Writes NAME.case.safetensors: the replay contract's input file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.case.safetensors",
              {"neolog.replay": json.dumps(case)})


def load_case(path: pathlib.Path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["neolog.replay"]), {key: file.get_tensor(key) for key in file.keys()}


def write_goldens(folder: pathlib.Path, model_folder: pathlib.Path, cases: dict[str, tuple[dict, dict]]):
    """Writes every case, what the reference computes for it in fp32, and bf16_errors.json: how far the reference's own
    bfloat16 run is from that, per case and tensor, as a part of the tensor's largest magnitude. The error of a handful of
    losses is luck, so every case gets the largest one of all cases for it."""
    exact, coarse = Reference.load(model_folder), Reference.load(model_folder, torch.bfloat16)
    errors: dict[str, dict[str, float]] = {}
    for name, (case, tensors) in cases.items():
        save_case(folder, name, case, tensors)
        expected = KINDS[case["kind"]](exact, case, tensors)
        save_file(expected, folder / f"{name}.expected.safetensors")
        result = KINDS[case["kind"]](coarse, case, tensors)
        errors[name] = {key: float(f"{relative_error(result[key], value):.3g}") for key, value in expected.items()}
        print(name, {key: (tuple(v.shape), f"max {v.abs().max():.3g}", f"bf16 {errors[name][key]:.2g}")
                     for key, v in expected.items()}, flush=True)
    worst_loss = max(error.get("loss", 0.0) for error in errors.values())
    for error in errors.values():
        if "loss" in error:
            error["loss"] = worst_loss
    (folder / "bf16_errors.json").write_text(json.dumps(errors, indent=1) + "\n")
