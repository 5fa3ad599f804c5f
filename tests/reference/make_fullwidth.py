"""Full-width SD 1.5 with weights from seeded_weights.py: writes the model folder anywhere, and the golden data.

    python make_fullwidth.py --model FOLDER            # the diffusers folder, 4.1 GB in fp32, nothing else
    python make_fullwidth.py --model FOLDER --golden   # and tests/golden/fullwidth_sd15.*, computed with it
    python make_fullwidth.py --model FOLDER --half OTHER   # and the same in fp16, 2.1 GB

The weights are specified exactly (seeded_weights.py, seed 15, names "unet.<key>", "text_encoder.<key>", "vae.<key>"
with the keys of the files), so a test may make the folder itself. The golden files hold one training micro-step at
128x128 pixels and one VAE round: `fullwidth_sd15.case.safetensors` and, as full outputs would be large,
`fullwidth_sd15.expected.safetensors` with loss, grad, rows and, of text_hidden and prediction, the first 64 values
(`NAME.first`) and [mean, standard deviation, largest magnitude] (`NAME.statistics`); `fullwidth_sd15.vae.*` likewise.
The case brings ids; a tokenizer folder is written only where --merges names CLIP's merges file (for benchmarks).
"""

import argparse
import json
import pathlib
import shutil

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

import make_tokenizer_corpus
import reference
import seeded_weights

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
SEED = 15
POSITIONS, WIDTH, START, END = 77, 768, 49406, 49407
INDEX = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.36.0", "requires_safety_checker": False,
         "feature_extractor": [None, None], "safety_checker": [None, None],
         "scheduler": ["diffusers", "DDPMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
         "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
         "vae": ["diffusers", "AutoencoderKL"]}


def write_model(folder: pathlib.Path):
    """SD 1.5's three parts, one after another so that only one is in memory."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = {
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            max_position_embeddings=POSITIONS, hidden_act="quick_gelu", projection_dim=768, bos_token_id=START,
            eos_token_id=END, pad_token_id=END)),
        "unet": lambda: UNet2DConditionModel(
            sample_size=64, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, cross_attention_dim=768,
            attention_head_dim=8),
        "vae": lambda: AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512,
            scaling_factor=0.18215),
    }
    for name, build in parts.items():
        part = build()
        seeded_weights.fill(part, name, SEED)
        part.save_pretrained(folder / name, max_shard_size="10GB")
        print(name, sum(p.numel() for p in part.parameters()), "parameters", flush=True)
        del part
    DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                  clip_sample=False, prediction_type="epsilon", steps_offset=1).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")


def write_half(model: pathlib.Path, folder: pathlib.Path):
    """The same model in fp16, as most people have it: every weight rounded, everything else copied."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for file in sorted(model.glob("*/*.safetensors")):
        save_file({key: tensor.half() for key, tensor in load_file(file).items()}, folder / file.relative_to(model),
                  {"format": "pt"})


def summary(tensors: dict[str, torch.Tensor], whole: set[str]) -> dict[str, torch.Tensor]:
    """Tensors named in `whole` as they are, of the others the first 64 values and three statistics."""
    result = {}
    for name, tensor in tensors.items():
        if name in whole:
            result[name] = tensor
            continue
        flat = tensor.reshape(-1)
        result[f"{name}.first"] = flat[:64].clone()
        result[f"{name}.statistics"] = torch.stack([flat.mean(), flat.std(), flat.abs().max()])
    return result


def write_golden(folder: pathlib.Path):
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    ids = torch.full((1, 1, POSITIONS), END)
    ids[0, 0, :7] = torch.tensor([START, 320, 1125, 539, 320, 0, 0])  # "a photo of a" and two learned rows
    slots = torch.full_like(ids, -1)
    slots[0, 0, 5], slots[0, 0, 6] = 0, 1
    case = dict(kind="train", lr=[5e-3], beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2, grad_accumulation=1,
                prediction="auto")
    tensors = dict(input_ids=ids, slots=slots, latents=normal(1, 1, 4, 16, 16), noise=normal(1, 1, 4, 16, 16),
                   timesteps=torch.tensor([[437]]), rows=normal(2, WIDTH) * 0.05)
    vae_case, vae_tensors = {"kind": "vae_encode"}, {"pixels": (normal(1, 3, 64, 64) * 0.5).clamp(-1, 1)}
    decode_case, decode_tensors = {"kind": "vae_decode"}, {"latents": normal(1, 4, 8, 8)}
    plan = {"fullwidth_sd15": (case, tensors, {"loss", "grad", "rows"}),
            "fullwidth_sd15.vae_encode": (vae_case, vae_tensors, {"mean", "logvar"}),
            "fullwidth_sd15.vae_decode": (decode_case, decode_tensors, set())}
    exact = reference.Reference.load(folder)
    expected = {name: reference.KINDS[c["kind"]](exact, c, t) for name, (c, t, _) in plan.items()}
    del exact
    coarse = reference.Reference.load(folder, torch.bfloat16)
    errors = {}
    for name, (c, t, whole) in plan.items():
        reference.save_case(GOLDEN, name, c, t)
        save_file({k: v.contiguous() for k, v in summary(expected[name], whole).items()},
                  GOLDEN / f"{name}.expected.safetensors")
        result = reference.KINDS[c["kind"]](coarse, c, t)
        errors[name] = {key: float(f"{reference.relative_error(result[key], value):.3g}")
                        for key, value in expected[name].items()}
        print(name, {key: f"{tuple(v.shape)} max {v.abs().max():.4g} deviation {v.std():.4g}" if v.numel() > 1 else
                     v.item() for key, v in expected[name].items()}, errors[name], flush=True)
    (GOLDEN / "fullwidth_sd15.bf16_errors.json").write_text(json.dumps(errors, indent=1) + "\n")
    # A few weights, so that a generator of the weights in another language can be checked without the model.
    names = {"unet.conv_in.weight": (320, 4, 3, 3), "unet.conv_in.bias": (320,), "vae.encoder.conv_in.weight": (128, 3, 3, 3),
             "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight": (1280, 1280),
             "text_encoder.text_model.final_layer_norm.weight": (768,),
             "text_encoder.text_model.embeddings.token_embedding.weight": (49408, 768)}
    sample = {}
    for name, shape in names.items():
        values = seeded_weights.uniform(name, shape, SEED, *seeded_weights.scale_and_offset(name, shape)).reshape(-1)
        sample[name] = torch.from_numpy(values[[0, 1, 2, 3, len(values) // 2, -1]])
    save_file(sample, GOLDEN / "fullwidth_sd15.weights.safetensors",
              {"neolog.seeded_weights": json.dumps({"seed": SEED, "elements": "0, 1, 2, 3, n / 2, n - 1",
                                                    "shapes": names})})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--half", type=pathlib.Path, help="also write the model in fp16 to this folder")
    parser.add_argument("--merges", type=pathlib.Path, help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    args = parser.parse_args()
    if not (args.model / "model_index.json").exists():
        write_model(args.model)
    if args.merges and not (args.model / "tokenizer").exists():
        (args.model / "tokenizer").mkdir()
        make_tokenizer_corpus.clip_tokenizer(args.merges, args.model / "tokenizer")
    if args.golden:
        write_golden(args.model)
    if args.half:
        write_half(args.model, args.half)


if __name__ == "__main__":
    main()
