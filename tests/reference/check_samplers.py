"""Checks samplers.py against diffusers' own schedulers where both define the same thing. Prints the differences.

    python check_samplers.py

With 10 steps, k-diffusion's timesteps are whole numbers, so diffusers' Euler schedulers (which interpolate sigma instead
of its logarithm) have the same noise levels. The model is a fixed nonlinear function.
"""

import torch
from diffusers import (DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       HeunDiscreteScheduler)

import samplers

COMMON = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
STEPS = 10


def predict(x: torch.Tensor, timestep: float) -> torch.Tensor:
    return torch.tanh(x * 0.7 + timestep / 1000) + 0.1 * x.roll(1, -1)


def scheduled(scheduler, noise: torch.Tensor, **options) -> torch.Tensor:
    """diffusers' loop with our draws in place of its own."""
    scheduler.set_timesteps(STEPS)
    draws = iter(noise[1:])
    x = noise[0].clone() * scheduler.init_noise_sigma
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda shape, **_: next(draws)
    for t in scheduler.timesteps:
        out = predict(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(out, t, x, **options).prev_sample
    return x


def main():
    noise = torch.randn(STEPS + 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    linspace = dict(COMMON, timestep_spacing="linspace")
    ddim = dict(COMMON, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    checks = {
        "ddim": (DDIMScheduler(**ddim), {}, None),
        "ddim eta 0.5": (DDIMScheduler(**ddim), {"eta": 0.5}, 0.5),
        "euler": (EulerDiscreteScheduler(**linspace), {}, None),
        "euler_a": (EulerAncestralDiscreteScheduler(**linspace), {}, None),
        "heun": (HeunDiscreteScheduler(**linspace), {}, None),
    }
    for name, (scheduler, options, eta) in checks.items():
        ours = samplers.run(name.split()[0], predict, noise, STEPS, eta, "epsilon")["latents"]
        theirs = scheduled(scheduler, noise, **options)
        error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        print(f"{name}: {error:.1e} of the largest magnitude")


if __name__ == "__main__":
    main()
