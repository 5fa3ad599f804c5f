"""Writes tests/golden/adamw.safetensors: trajectories of torch.optim.AdamW (foreach=False) in fp32.

    python make_adamw.py

Per trajectory NAME: NAME.start [K, D], NAME.grad [S, K, D], NAME.lr [S] (float64), NAME.rows [S, K, D] after every step,
NAME.m and NAME.v (first and second moments after the last step). The `__metadata__` key `neolog.adamw` holds the other
settings: {NAME: {"beta1", "beta2", "eps", "weight_decay"}}.
"""

import json
import math
import pathlib

import torch
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
STEPS = 12
DEFAULTS = dict(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2)
TRAJECTORIES = {
    "defaults": {},
    "no_decay": dict(weight_decay=0.0),
    "strong_decay": dict(weight_decay=0.5),
    "large_eps": dict(eps=1e-4, weight_decay=0.0),
    "other_betas": dict(beta1=0.5, beta2=0.9, eps=1e-6, weight_decay=0.1),
    "no_momentum": dict(beta1=0.0, weight_decay=0.0),
    "zero_gradients": {},  # every third gradient is zero, and one row never has any
    "changing_rate": dict(weight_decay=0.05),  # warm-up, cosine, and one step of rate 0
}


def main():
    generator = torch.Generator().manual_seed(20240501)
    tensors, settings = {}, {}
    for name, changes in TRAJECTORIES.items():
        case = {**DEFAULTS, **changes}
        start = torch.randn(3, 8, generator=generator) * 0.4
        # Magnitudes from 1e-7 to 1e-1, as gradients of rows are.
        grad = torch.randn(STEPS, 3, 8, generator=generator) * 10 ** (torch.rand(3, 8, generator=generator) * 6 - 7)
        rates = [5e-3] * STEPS
        if name == "zero_gradients":
            grad[::3] = 0
            grad[:, 1] = 0
        if name == "changing_rate":
            rates = [1e-2 * min(1, (k + 1) / 3) * 0.5 * (1 + math.cos(math.pi * k / STEPS)) for k in range(STEPS)]
            rates[7] = 0.0
        rows = torch.nn.Parameter(start.clone())
        optimiser = torch.optim.AdamW([rows], betas=(case["beta1"], case["beta2"]), eps=case["eps"],
                                      weight_decay=case["weight_decay"], foreach=False)
        after = []
        for k in range(STEPS):
            optimiser.param_groups[0]["lr"] = rates[k]
            rows.grad = grad[k].clone()
            optimiser.step()
            after.append(rows.detach().clone())
        state = optimiser.state[rows]
        tensors |= {f"{name}.start": start, f"{name}.grad": grad, f"{name}.lr": torch.tensor(rates, dtype=torch.float64),
                    f"{name}.rows": torch.stack(after), f"{name}.m": state["exp_avg"], f"{name}.v": state["exp_avg_sq"]}
        settings[name] = case
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, GOLDEN / "adamw.safetensors",
              {"neolog.adamw": json.dumps(settings)})


if __name__ == "__main__":
    main()
