"""Writes data/: embedding files as torch 2.11 makes them of what other trainers save. Run with torch in the environment."""

import pathlib

import torch

data = pathlib.Path(__file__).parent / "data"
data.mkdir(exist_ok=True)
rows = torch.tensor([[0.5, -1.25, 2.0], [3.0, -4.0, 5.5]])


def a1111(tensor, step):
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": tensor},
        "name": "zesko",
        "step": step,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


# The web UI saves the tensor it optimises, with its gradient flag.
torch.save(a1111(rows.clone().requires_grad_(), 300), data / "a1111_parameter.pt")
# A slice of a larger table keeps the whole table and starts inside it.
table = torch.zeros(5, 3, dtype=torch.float16)
table[2:4] = rows.half()
torch.save(a1111(table[2:4], 7), data / "a1111_half_slice.pt")
# The original trainer saves a ParameterDict.
torch.save(
    {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(rows.clone())})},
    data / "original_parameter_dict.pt",
)
# The diffusers script saves one tensor under the word.
torch.save({"<zesko>": rows.bfloat16()}, data / "diffusers_bfloat16.bin")
