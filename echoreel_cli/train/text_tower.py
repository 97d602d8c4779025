"""The retriever's text tower as transformers' CLIPTextModel: one set of words for finding and for making."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel


def text_model(retriever: open_clip.CLIP, *, heads: int) -> CLIPTextModel:
    """The same network under transformers' names; `last_hidden_state` is open_clip's output after the final norm."""
    state = retriever.state_dict()
    tokens, width = state["token_embedding.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("transformer.resblocks."))
    config = CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=state["positional_embedding"].shape[0],
        hidden_act="gelu",
        projection_dim=width,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=0,
    )
    model = CLIPTextModel(config)
    wanted = model.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in wanted) else ""
    found: dict[str, Tensor] = {
        f"{prefix}embeddings.token_embedding.weight": state["token_embedding.weight"],
        f"{prefix}embeddings.position_embedding.weight": state["positional_embedding"],
        f"{prefix}final_layer_norm.weight": state["ln_final.weight"],
        f"{prefix}final_layer_norm.bias": state["ln_final.bias"],
    }
    for i in range(layers):
        theirs, ours = f"transformer.resblocks.{i}.", f"{prefix}encoder.layers.{i}."
        for kind in ("weight", "bias"):
            parts = state[f"{theirs}attn.in_proj_{kind}"].chunk(3)
            found |= {f"{ours}self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
            found[f"{ours}self_attn.out_proj.{kind}"] = state[f"{theirs}attn.out_proj.{kind}"]
            found[f"{ours}layer_norm1.{kind}"] = state[f"{theirs}ln_1.{kind}"]
            found[f"{ours}layer_norm2.{kind}"] = state[f"{theirs}ln_2.{kind}"]
            found[f"{ours}mlp.fc1.{kind}"] = state[f"{theirs}mlp.c_fc.{kind}"]
            found[f"{ours}mlp.fc2.{kind}"] = state[f"{theirs}mlp.c_proj.{kind}"]
    extra = {name: value for name, value in wanted.items() if name.endswith("position_ids")}
    model.load_state_dict({**extra, **{name: value.float().clone() for name, value in found.items()}}, strict=True)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def largest_difference(retriever: open_clip.CLIP, model: CLIPTextModel, tokens: Tensor) -> float:
    """How far the two disagree on token ids (b l), over the last hidden states."""
    x = retriever.token_embedding(tokens) + retriever.positional_embedding
    theirs = retriever.ln_final(retriever.transformer(x, attn_mask=retriever.attn_mask))
    return float((theirs - model(input_ids=tokens).last_hidden_state).abs().max())
