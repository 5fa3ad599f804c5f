// The names of the original layout ("LDM": one file, as the models were first published) beside
// those of diffusers and transformers. Facts from diffusers 0.36 (single_file_utils) and from the
// published files.
#include "common/checkpoint/key_rules.h"

namespace neolog {

const KeyRules& OriginalUNetRules() {
  static const KeyRules resnet = {
      {"in_layers.0.", "norm1."},          {"in_layers.2.", "conv1."},
      {"emb_layers.1.", "time_emb_proj."}, {"out_layers.0.", "norm2."},
      {"out_layers.3.", "conv2."},         {"skip_connection.", "conv_shortcut."},
  };
  static const KeyRules rules = {
      {"time_embed.0.", "time_embedding.linear_1."},
      {"time_embed.2.", "time_embedding.linear_2."},
      {"label_emb.0.0.", "add_embedding.linear_1."},  // SDXL
      {"label_emb.0.2.", "add_embedding.linear_2."},
      {"input_blocks.0.0.", "conv_in."},
      {"input_blocks.{in}.0.op.", "down_blocks.{level}.downsamplers.0.conv."},
      {"input_blocks.{in}.0.", "down_blocks.{level}.resnets.{place}.", &resnet},
      {"input_blocks.{in}.1.", "down_blocks.{level}.attentions.{place}."},
      {"middle_block.0.", "mid_block.resnets.0.", &resnet},
      {"middle_block.1.", "mid_block.attentions.0."},
      {"middle_block.2.", "mid_block.resnets.1.", &resnet},
      {"output_blocks.{out}.0.", "up_blocks.{level}.resnets.{place}.", &resnet},
      // The upsampler follows the attention, or takes its place where there is none.
      {"output_blocks.{out}.1.conv.", "up_blocks.{level}.upsamplers.0.conv."},
      {"output_blocks.{out}.1.", "up_blocks.{level}.attentions.{place}."},
      {"output_blocks.{out}.2.conv.", "up_blocks.{level}.upsamplers.0.conv."},
      {"out.0.", "conv_norm_out."},
      {"out.2.", "conv_out."},
  };
  return rules;
}

const KeyRules& OriginalVaeRules() {
  static const KeyRules resnet = {{"nin_shortcut.", "conv_shortcut."}, {"", ""}};
  static const KeyRules attention = {
      {"norm.", "group_norm."},   {"q.", "to_q."}, {"k.", "to_k."}, {"v.", "to_v."},
      {"proj_out.", "to_out.0."},
  };
  static const KeyRules rules = {
      {"encoder.conv_in.", "encoder.conv_in."},
      {"encoder.down.{level}.block.{place}.", "encoder.down_blocks.{level}.resnets.{place}.",
       &resnet},
      {"encoder.down.{level}.downsample.conv.", "encoder.down_blocks.{level}.downsamplers.0.conv."},
      {"encoder.mid.block_{mid}.", "encoder.mid_block.resnets.{place}.", &resnet},
      {"encoder.mid.attn_1.", "encoder.mid_block.attentions.0.", &attention},
      {"encoder.norm_out.", "encoder.conv_norm_out."},
      {"encoder.conv_out.", "encoder.conv_out."},
      {"quant_conv.", "quant_conv."},
      {"post_quant_conv.", "post_quant_conv."},
      {"decoder.conv_in.", "decoder.conv_in."},
      {"decoder.mid.block_{mid}.", "decoder.mid_block.resnets.{place}.", &resnet},
      {"decoder.mid.attn_1.", "decoder.mid_block.attentions.0.", &attention},
      {"decoder.up.{up}.block.{place}.", "decoder.up_blocks.{level}.resnets.{place}.", &resnet},
      {"decoder.up.{up}.upsample.conv.", "decoder.up_blocks.{level}.upsamplers.0.conv."},
      {"decoder.norm_out.", "decoder.conv_norm_out."},
      {"decoder.conv_out.", "decoder.conv_out."},
  };
  return rules;
}

const KeyRules& OpenClipRules() {
  static const KeyRules layer = {
      {"ln_1.", "layer_norm1."},
      {"ln_2.", "layer_norm2."},
      {"attn.in_proj_weight", "self_attn.q_proj.weight", nullptr, Reading::kFirstThird},
      {"attn.in_proj_weight", "self_attn.k_proj.weight", nullptr, Reading::kSecondThird},
      {"attn.in_proj_weight", "self_attn.v_proj.weight", nullptr, Reading::kLastThird},
      {"attn.in_proj_bias", "self_attn.q_proj.bias", nullptr, Reading::kFirstThird},
      {"attn.in_proj_bias", "self_attn.k_proj.bias", nullptr, Reading::kSecondThird},
      {"attn.in_proj_bias", "self_attn.v_proj.bias", nullptr, Reading::kLastThird},
      {"attn.out_proj.", "self_attn.out_proj."},
      {"mlp.c_fc.", "mlp.fc1."},
      {"mlp.c_proj.", "mlp.fc2."},
  };
  static const KeyRules rules = {
      {"token_embedding.", "text_model.embeddings.token_embedding."},
      {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
      {"transformer.resblocks.{n}.", "text_model.encoder.layers.{n}.", &layer},
      {"ln_final.", "text_model.final_layer_norm."},
      // Applied as x·P, so the weight of a linear layer is its transpose.
      {"text_projection", "text_projection.weight", nullptr, Reading::kTransposed},
      {"text_projection.weight",
       "text_projection.weight"},  // merges that went through transformers
  };
  return rules;
}

const KeyRules& ClipRules() {
  static const KeyRules rules = {
      {"text_model.", "text_model."},
      {"text_projection.", "text_projection."},
      // Without the model's name: very old files of one kind, transformers 5 of the other.
      {"embeddings.", "text_model.embeddings."},
      {"encoder.", "text_model.encoder."},
      {"final_layer_norm.", "text_model.final_layer_norm."},
  };
  return rules;
}

const KeyRules& DiffusersVaeRules() {
  // Attention before diffusers 0.17.
  static const KeyRules attention = {
      {"query.", "to_q."},         {"key.", "to_k."}, {"value.", "to_v."},
      {"proj_attn.", "to_out.0."}, {"", ""},
  };
  static const KeyRules rules = {
      {"encoder.mid_block.attentions.0.", "encoder.mid_block.attentions.0.", &attention},
      {"decoder.mid_block.attentions.0.", "decoder.mid_block.attentions.0.", &attention},
      {"", ""},
  };
  return rules;
}

const KeyRules& DiffusersUNetRules() {
  static const KeyRules rules = {{"", ""}};
  return rules;
}

}  // namespace neolog
