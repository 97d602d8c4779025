from __future__ import annotations

from dataclasses import replace

import torch

from echoreel_cli.prism.action import ActionPrism, AffineHead, PrismConfig

TINY = PrismConfig(positions=16, width=16, text_width=12, words_width=10, layers=2, heads=2, head_width=8, temporal_length=4)


def test_folded_head_is_the_three_maps() -> None:
    torch.manual_seed(0)
    head = AffineHead(8, 4).double()
    x = torch.randn(3, 8).double()
    torch.testing.assert_close(head(x), head[2](head[1](head[0](x))), atol=1e-6, rtol=1e-5)


def test_tokens_keep_positions_and_channels_apart() -> None:
    """Index = position * channels + channel, positions row by row."""
    torch.manual_seed(0)
    prism = ActionPrism(replace(TINY, layers=0))
    latents, text = torch.randn(1, 4, 2, 2, 8), torch.randn(1, 3, 12)
    tokens = prism(latents, text).view(1, 2, 2, 8, 4)
    changed = latents.clone()
    changed[0, :, 1, 1, 5] += 1
    difference = (prism(changed, text).view(1, 2, 2, 8, 4) - tokens).abs().amax(-1)[0]
    assert difference.nonzero().tolist() == [[1, 1, 5]]


def test_order_of_words_plays_no_role_and_order_of_frames_does() -> None:
    torch.manual_seed(0)
    prism = ActionPrism(TINY)
    latents, text = torch.randn(1, 4, 5, 4, 4), torch.randn(1, 6, 12)
    tokens = prism(latents, text)
    torch.testing.assert_close(prism(latents, text.flip(1)), tokens, atol=1e-5, rtol=0)
    assert not torch.allclose(prism(latents.flip(2), text).flip(1), tokens, atol=1e-3)


def test_gradient_checkpointing_changes_no_number() -> None:
    latents, text, results = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 3, 12), []
    for config in (TINY, replace(TINY, gradient_checkpointing=True)):
        torch.manual_seed(0)
        prism = ActionPrism(config)
        prism(latents, text).sum().backward()
        results.append(torch.cat([parameter.grad.flatten() for parameter in prism.parameters() if parameter.grad is not None]))
    torch.testing.assert_close(results[0], results[1])
