"""Writes tests/common/tensor_file/data: state dicts as torch.save makes them, in both containers, and files no one should load.

    python make_files.py        (the oracle of tests/reference/requirements.txt)

`weights.*` hold the tensors that torch_file_test.cc expects; `lightning.ckpt` has the classes that trainers leave in
checkpoints; `hostile_*.ckpt` would run a command in a reader that executes pickles.
"""

import collections
import os
import pathlib
import sys
import types

import torch

FOLDER = pathlib.Path(__file__).resolve().parent / "data"


def weights() -> dict[str, object]:
    table = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 4
    return collections.OrderedDict(
        whole=table, half=table.half(), bfloat=table.bfloat16(), double=table.double(), slice=table[1:3],
        column=table[:, 2], transposed=table.t(), parameter=torch.nn.Parameter(table[0].clone()),
        scalar=torch.tensor(2.5), empty=torch.zeros(0, 3), ids=torch.arange(5), again=table, note="not a tensor")


def lightning() -> dict[str, object]:
    """What Lightning keeps beside the weights, with classes that exist nowhere else."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    sys.modules["pytorch_lightning"] = types.ModuleType("pytorch_lightning")
    sys.modules["pytorch_lightning.callbacks"] = types.ModuleType("pytorch_lightning.callbacks")
    sys.modules[module.__name__] = module

    class ModelCheckpoint:
        def __init__(self):
            self.best = torch.ones(2)

    class AttributeDict(dict):
        pass

    for cls in (ModelCheckpoint, AttributeDict):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    import numpy
    return {"epoch": 7, "global_step": 470000, "pytorch-lightning_version": "1.4.2", "lr": 1e-4,
            "state_dict": {"model.a.weight": torch.arange(6.0).reshape(2, 3), "model.b": torch.ones(1).half()},
            "callbacks": {ModelCheckpoint: ModelCheckpoint(), "score": numpy.float64(0.5)},
            "hyper_parameters": AttributeDict(size=torch.Size([1, 2]), where=torch.device("cpu"),
                                              big=2**100, path=pathlib.PurePosixPath("a/b"), seen={1, 2}),
            "optimizer_states": [{"state": collections.defaultdict(dict, {0: {"exp_avg": torch.zeros(2)}})}]}


class Hostile:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def save(name: str, value: object, **options):
    torch.save(value, FOLDER / name, **options)
    print(name, (FOLDER / name).stat().st_size)


def main():
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    save("weights.ckpt", weights())
    save("weights_legacy.ckpt", weights(), _use_new_zipfile_serialization=False)
    save("weights_protocol4.ckpt", weights(), pickle_protocol=4)
    save("lightning.ckpt", lightning())
    save("lightning_legacy.ckpt", lightning(), _use_new_zipfile_serialization=False)
    save("hostile_system.ckpt", {"state_dict": {"a": torch.ones(1)}, "x": Hostile(os.system, "true")})
    save("hostile_protocol4.ckpt", {"a": torch.ones(1), "x": Hostile(eval, "1")}, pickle_protocol=4)
    save("hostile_legacy.ckpt", {"a": torch.ones(1), "x": Hostile(getattr, "a", "upper")},
         _use_new_zipfile_serialization=False)
    save("single_tensor.pt", torch.ones(3))
    save("no_tensors.pt", {"a": 1})
    save("eight_bits.pt", {"a": torch.ones(4).to(torch.float8_e4m3fn)})


if __name__ == "__main__":
    main()
