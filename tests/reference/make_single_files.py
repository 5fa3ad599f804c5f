#!/usr/bin/env python3
"""Writes tests/golden/single_file/*.tsv: for a narrow model of each family, the keys of its single file in the original
("LDM") layout and where diffusers and transformers keep each weight.

The original keys are made here, by walking the model as the original code numbers its blocks. diffusers' own converters
then have to turn a file of them back into the very tensors that the narrow model was made with; only then is a line
written. A line has the original key, the part, the part's key, and how the weight is read (as_is, conv: a 1x1
convolution as linear layer, transposed, first, second or last third).

    python make_single_files.py
"""

import pathlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as reference
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = pathlib.Path(__file__).resolve().parents[1] / "golden" / "single_file"


def text_encoder(width, layers, projection):
    config = CLIPTextConfig(vocab_size=40, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                            num_attention_heads=width // 64, projection_dim=width)
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def unet(family):
    cross, plain = "CrossAttn{}Block2D", "{}Block2D"
    down = [plain, cross, cross] if family == "sdxl" else [cross, cross, plain]
    more = {}
    if family == "sdxl":
        more = dict(addition_embed_type="text_time", addition_time_embed_dim=32,
                    projection_class_embeddings_input_dim=128 + 6 * 32, transformer_layers_per_block=[1, 1, 2])
    return UNet2DConditionModel(
        block_out_channels=(64, 64, 128), layers_per_block=2, cross_attention_dim=192 if family == "sdxl" else 64,
        attention_head_dim=8 if family == "sd1" else [1, 1, 2], use_linear_projection=family != "sd1",
        down_block_types=tuple(t.format("Down") for t in down),
        up_block_types=tuple(t.format("Up") for t in reversed(down)), **more)


def vae():
    return AutoencoderKL(block_out_channels=(32, 32, 64, 64), layers_per_block=1, latent_channels=4,
                         down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)


class Original:
    """Collects original keys: `lines` are (key, part, part's key, reading), `tensors` the file."""

    def __init__(self):
        self.lines, self.tensors = [], {}

    def add(self, key, part, part_key, tensor, reading="as_is"):
        self.lines.append((key, part, part_key, reading))
        self.tensors[key] = tensor

    def layers(self, state, part, pairs, prefix):
        for new, old in pairs:
            for kind in ("weight", "bias"):
                if f"{new}.{kind}" in state:
                    self.add(f"{prefix}{old}.{kind}", part, f"{new}.{kind}", state[f"{new}.{kind}"])

    def below(self, state, part, new, old, prefix):
        for key, tensor in state.items():
            if key.startswith(new):
                self.add(prefix + old + key[len(new):], part, key, tensor)


def count(state, pattern):
    """How many numbers from 0 on give a key that begins with `pattern`."""
    n = 0
    while any(key.startswith(pattern.format(n)) for key in state):
        n += 1
    return n


UNET_RESNET = [("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
               ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")]
VAE_RESNET = [("norm1", "norm1"), ("conv1", "conv1"), ("norm2", "norm2"), ("conv2", "conv2"),
              ("conv_shortcut", "nin_shortcut")]


def original_unet(out, state):
    prefix = "model.diffusion_model."

    def resnet(new, old):
        out.layers(state, "unet", [(f"{new}.{a}", f"{old}.{b}") for a, b in UNET_RESNET], prefix)

    def attention(new, old):
        out.below(state, "unet", new + ".", old + ".", prefix)

    def has(start):
        return any(key.startswith(start) for key in state)

    out.layers(state, "unet", [("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
                               ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
                               ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")],
               prefix)
    n, levels = 0, count(state, "down_blocks.{}.")
    for level in range(levels):
        for i in range(count(state, f"down_blocks.{level}.resnets.{{}}.")):
            n += 1
            resnet(f"down_blocks.{level}.resnets.{i}", f"input_blocks.{n}.0")
            attention(f"down_blocks.{level}.attentions.{i}", f"input_blocks.{n}.1")
        if level < levels - 1:
            n += 1
            out.layers(state, "unet", [(f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{n}.0.op")], prefix)
    resnet("mid_block.resnets.0", "middle_block.0")
    attention("mid_block.attentions.0", "middle_block.1")
    resnet("mid_block.resnets.1", "middle_block.2")
    n = 0
    for level in range(levels):
        layers = count(state, f"up_blocks.{level}.resnets.{{}}.")
        for i in range(layers):
            resnet(f"up_blocks.{level}.resnets.{i}", f"output_blocks.{n}.0")
            attention(f"up_blocks.{level}.attentions.{i}", f"output_blocks.{n}.1")
            if i == layers - 1 and level < levels - 1:
                place = 2 if has(f"up_blocks.{level}.attentions.") else 1
                out.layers(state, "unet",
                           [(f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{n}.{place}.conv")], prefix)
            n += 1


def original_vae(out, state):
    prefix, levels = "first_stage_model.", 4

    def resnet(new, old):
        out.layers(state, "vae", [(f"{new}.{a}", f"{old}.{b}") for a, b in VAE_RESNET], prefix)

    pairs = [("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv")]
    for half in ("encoder", "decoder"):
        pairs += [(f"{half}.conv_in", f"{half}.conv_in"), (f"{half}.conv_norm_out", f"{half}.norm_out"),
                  (f"{half}.conv_out", f"{half}.conv_out")]
        for i in range(2):
            resnet(f"{half}.mid_block.resnets.{i}", f"{half}.mid.block_{i + 1}")
        new, old = f"{half}.mid_block.attentions.0.", f"{half}.mid.attn_1."
        pairs.append((new + "group_norm", old + "norm"))
        for a, b in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            weight = state[f"{new}{a}.weight"]
            out.add(f"{prefix}{old}{b}.weight", "vae", f"{new}{a}.weight", weight[:, :, None, None], "conv")
            out.add(f"{prefix}{old}{b}.bias", "vae", f"{new}{a}.bias", state[f"{new}{a}.bias"])
    for level in range(levels):
        resnet(f"encoder.down_blocks.{level}.resnets.0", f"encoder.down.{level}.block.0")
        pairs.append((f"encoder.down_blocks.{level}.downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"))
        up = levels - 1 - level
        for i in range(2):
            resnet(f"decoder.up_blocks.{level}.resnets.{i}", f"decoder.up.{up}.block.{i}")
        pairs.append((f"decoder.up_blocks.{level}.upsamplers.0.conv", f"decoder.up.{up}.upsample.conv"))
    out.layers(state, "vae", pairs, prefix)


def original_open_clip(out, state, part, prefix, layers):
    model = "text_model."
    out.add(prefix + "positional_embedding", part, model + "embeddings.position_embedding.weight",
            state[model + "embeddings.position_embedding.weight"])
    out.layers(state, part, [(model + "embeddings.token_embedding", "token_embedding"),
                             (model + "final_layer_norm", "ln_final")], prefix)
    if "text_projection.weight" in state:
        out.add(prefix + "text_projection", part, "text_projection.weight", state["text_projection.weight"].T.contiguous(),
                "transposed")
    for n in range(layers):
        new, old = f"{model}encoder.layers.{n}.", f"transformer.resblocks.{n}."
        out.layers(state, part, [(new + a, old + b) for a, b in (
            ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"))], prefix)
        for kind in ("weight", "bias"):
            names = [f"{new}self_attn.{name}_proj.{kind}" for name in "qkv"]
            fused = torch.cat([state[name] for name in names])
            for name, reading in zip(names, ("first", "second", "last")):
                out.add(f"{prefix}{old}attn.in_proj_{kind}", part, name, fused, reading)


def check(part, found, state):
    """diffusers' converter gives the model's own tensors back."""
    for key, tensor in state.items():
        assert key in found and found[key].shape == tensor.shape and torch.equal(found[key], tensor), (part, key)


def make(family):
    torch.manual_seed(7)
    parts = {"unet": unet(family), "vae": vae(), "text_encoder": text_encoder(64, 2 if family == "sd1" else 3, False)}
    if family == "sdxl":
        parts["text_encoder_2"] = text_encoder(128, 3, True)
    states = {name: {k: v for k, v in part.state_dict().items() if not k.endswith("position_ids")}
              for name, part in parts.items()}
    out = Original()
    original_unet(out, states["unet"])
    original_vae(out, states["vae"])
    if family == "sd2":
        original_open_clip(out, states["text_encoder"], "text_encoder", "cond_stage_model.model.", 3)
    else:
        place = "conditioner.embedders.0." if family == "sdxl" else "cond_stage_model."
        out.below(states["text_encoder"], "text_encoder", "", "", place + "transformer.")
    if family == "sdxl":
        original_open_clip(out, states["text_encoder_2"], "text_encoder_2", "conditioner.embedders.1.model.", 3)

    check("unet", reference.convert_ldm_unet_checkpoint(dict(out.tensors), dict(parts["unet"].config)), states["unet"])
    check("vae", reference.convert_ldm_vae_checkpoint(dict(out.tensors), dict(parts["vae"].config)), states["vae"])
    if family == "sd2":
        check("text_encoder", reference.convert_open_clip_checkpoint(parts["text_encoder"], dict(out.tensors)),
              states["text_encoder"])
    else:
        check("text_encoder", reference.convert_ldm_clip_checkpoint(dict(out.tensors)), states["text_encoder"])
    if family == "sdxl":
        found = reference.convert_open_clip_checkpoint(parts["text_encoder_2"], dict(out.tensors),
                                                       prefix="conditioner.embedders.1.model.")
        check("text_encoder_2", found, states["text_encoder_2"])
    assert {(part, key) for _, part, key, _ in out.lines} == {(p, k) for p, state in states.items() for k in state}
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for family in ("sd1", "sd2", "sdxl"):
        out = make(family)
        text = "".join("\t".join(line) + "\n" for line in sorted(out.lines))
        (OUT / f"{family}.tsv").write_text(text)
        print(family, len(out.lines), "weights,", len(text), "bytes")


if __name__ == "__main__":
    main()
