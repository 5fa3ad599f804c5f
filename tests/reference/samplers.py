"""The samplers of the replay contract: k-diffusion's conventions as A1111 1.6 to 1.10 uses them, around any UNet.

Scalars are float64, latents float32. `noise[0]` is the initial draw, `noise[i]` the draw of step i.
"""

import numpy as np
import torch

ALPHAS_CUMPROD = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
LOG_SIGMAS = 0.5 * (np.log1p(-ALPHAS_CUMPROD) - np.log(ALPHAS_CUMPROD))


def sigmas_of(steps: int, karras: bool) -> np.ndarray:
    """steps + 1 noise levels, descending, the last one 0."""
    if karras:
        first, last = np.exp(LOG_SIGMAS[-1]) ** (1 / 7), np.exp(LOG_SIGMAS[0]) ** (1 / 7)
        levels = (first + np.linspace(0, 1, steps) * (last - first)) ** 7
    else:
        levels = np.exp(np.interp(np.linspace(999, 0, steps), np.arange(1000), LOG_SIGMAS))
    return np.append(levels, 0.0)


def timestep_of(sigma: float) -> float:
    """The unrounded timestep of a noise level, by log-linear interpolation."""
    return float(np.interp(np.log(sigma), LOG_SIGMAS, np.arange(1000)))


def _ancestral(sigma: float, following: float, eta: float) -> tuple[float, float]:
    """Noise level to go down to and deviation of the noise to add."""
    up = min(following, eta * (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5)
    return (following**2 - up**2) ** 0.5, up


def _lms_coefficient(sigmas: np.ndarray, i: int, order: int, j: int) -> float:
    """Integral over step i of the Lagrange polynomial that is 1 at sigma[i - j]."""
    polynomial = np.polynomial.Polynomial([1.0])
    for k in range(order):
        if k != j:
            polynomial *= np.polynomial.Polynomial([-sigmas[i - k], 1.0]) / (sigmas[i - j] - sigmas[i - k])
    integral = polynomial.integ()
    return integral(sigmas[i + 1]) - integral(sigmas[i])


def _k_diffusion(name: str, predict, noise: torch.Tensor, sigmas: np.ndarray, eta: float, prediction: str):
    def denoise(x, sigma):
        scaled = x * (1 / (sigma**2 + 1) ** 0.5)
        out = predict(scaled, timestep_of(sigma))
        if prediction == "epsilon":
            return x - out * sigma
        return x * (1 / (sigma**2 + 1)) - out * (sigma / (sigma**2 + 1) ** 0.5)

    x = noise[0] * float(sigmas[0])
    slopes, previous = [], None
    for i in range(len(sigmas) - 1):
        sigma, following = float(sigmas[i]), float(sigmas[i + 1])
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        if name == "euler":
            x = x + slope * (following - sigma)
        elif name == "euler_a":
            down, up = _ancestral(sigma, following, eta)
            x = x + slope * (down - sigma)
            if following > 0:
                x = x + noise[i + 1] * up
        elif name == "heun":
            moved = x + slope * (following - sigma)
            if following > 0:
                second = (moved - denoise(moved, following)) / following
                moved = x + (slope + second) / 2 * (following - sigma)
            x = moved
        elif name == "lms":
            slopes = [slope, *slopes[:3]]
            order = len(slopes)
            x = x + sum(_lms_coefficient(sigmas, i, order, j) * s for j, s in enumerate(slopes))
        elif name == "dpmpp_2m":
            if following == 0:
                x = denoised
            else:
                h = np.log(sigma / following)
                blended = denoised
                if previous is not None:
                    r = np.log(float(sigmas[i - 1]) / sigma) / h
                    blended = denoised * (1 + 1 / (2 * r)) - previous * (1 / (2 * r))
                x = x * (following / sigma) - blended * float(np.expm1(-h))
            previous = denoised
        else:
            raise ValueError(f"unknown sampler {name!r}")
    return x


def _ddim(name: str, predict, noise: torch.Tensor, steps: int, eta: float, prediction: str):
    timesteps = np.arange(0, 1000, 1000 // steps) + 1
    before = np.concatenate([ALPHAS_CUMPROD[:1], ALPHAS_CUMPROD[timesteps[:-1]]])
    order = range(len(timesteps) - 1, 0 if name == "ddim_a1111" else -1, -1)
    x = noise[0]
    for number, i in enumerate(order, 1):
        a, a_before = float(ALPHAS_CUMPROD[timesteps[i]]), float(before[i])
        out = predict(x, float(timesteps[i]))
        if prediction == "epsilon":
            epsilon = out
        else:
            epsilon = out * a**0.5 + x * (1 - a) ** 0.5
        start = (x - epsilon * (1 - a) ** 0.5) / a**0.5
        deviation = eta * ((1 - a_before) / (1 - a) * (1 - a / a_before)) ** 0.5
        x = start * a_before**0.5 + epsilon * (1 - a_before - deviation**2) ** 0.5
        if deviation > 0:
            x = x + noise[number] * deviation
    return x, np.array([timesteps[i] for i in order])


def run(name: str, predict, noise: torch.Tensor, steps: int, eta: float | None, prediction: str) -> dict:
    """The replay result of kind `sample`: latents, and sigmas or timesteps as the sampler defines itself."""
    if name in ("ddim", "ddim_a1111"):
        latents, timesteps = _ddim(name, predict, noise, steps, eta or 0.0, prediction)
        return {"latents": latents.contiguous(), "timesteps": torch.from_numpy(timesteps).to(torch.int64)}
    karras = name.endswith("_karras")
    sigmas = sigmas_of(steps, karras)
    latents = _k_diffusion(name.removesuffix("_karras"), predict, noise, sigmas, 1.0 if eta is None else eta,
                           prediction)
    return {"latents": latents.contiguous(), "sigmas": torch.from_numpy(sigmas.astype(np.float32))}
