"""What every action adapter is: reference videos -> a context once, then an addition at each named site in every step.

An adapter is additive, zero before training, owns every weight it adds, and leaves no trace when it is taken off.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoreel_cli.backbones.base import Denoiser

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ActionContext:
    """References after everything that does not depend on the timestep.

    `sites` maps a site's name to the tensors that the adapter wants there; all have the batch first.
    """

    sites: Mapping[str, tuple[Tensor, ...]]
    references: int
    """Number of references of each sample; 0 means that there is nothing to add."""

    @classmethod
    def none(cls) -> ActionContext:
        """No references: the plain backbone."""
        return cls({}, 0)

    @classmethod
    def stack(cls, contexts: Sequence[ActionContext]) -> ActionContext:
        """Contexts of several samples or branches, one after the other along the batch.

        ValueError: they differ in the number of references.
        """
        first = contexts[0]
        if any(other.references != first.references or other.sites.keys() != first.sites.keys() for other in contexts):
            raise ValueError("contexts with different numbers of references cannot share a batch")
        joined = {
            name: tuple(torch.cat(tensors) for tensors in zip(*(context.sites[name] for context in contexts), strict=True))
            for name in first.sites
        }
        return cls(joined, first.references)


class ActionAdapter(nn.Module, ABC):
    """Base of the adapters that bring an action from reference videos into a frozen video model.

    A concrete class has a `config` (a frozen dataclass with a field `kind`, see `adapters/weights.py`).
    """

    @property
    @abstractmethod
    def site_names(self) -> tuple[str, ...]:
        """The sites at which this adapter adds something."""

    @abstractmethod
    def encode(self, reference_latents: Tensor, text: Tensor, reference_text: Tensor) -> ActionContext:
        """Scaled latents (b r c t h w), prompt (b l d) and captions (b r l d) -> everything that no step changes.

        With r = 0 the context is empty and the backbone stays as it is.
        """

    @abstractmethod
    def addition(self, site: str, x: Tensor, size: Size, context: ActionContext) -> Tensor:
        """What is added at a site to x (b t n d); `size` is (h, w) with h * w = n."""


class Attachment:
    """The link between hung hooks and the context they use; the context may be changed while they hang."""

    def __init__(self, adapter: ActionAdapter, context: ActionContext) -> None:
        self.adapter = adapter
        self.context = context

    def hook(self, site: str) -> Callable[[nn.Module, tuple[Tensor, Size], Tensor], Tensor]:
        """A forward hook for the site's identity module."""

        def add(module: nn.Module, inputs: tuple[Tensor, Size], output: Tensor) -> Tensor:
            if self.context.references == 0:
                return output
            return output + self.adapter.addition(site, output, inputs[1], self.context)

        return add


@contextmanager
def attached(denoiser: Denoiser, adapter: ActionAdapter | None, context: ActionContext | None) -> Iterator[Attachment | None]:
    """Hang the adapter on the denoiser's sites for the length of a `with` block; afterwards the output is the old one bit for bit.

    Without adapter, context or references no hook is hung at all. In training the backward pass belongs into the block if the
    denoiser recomputes its blocks (gradient checkpointing).
    """
    if adapter is None or context is None or context.references == 0:
        yield None
        return
    attachment = Attachment(adapter, context)
    with ExitStack() as stack:
        for site in adapter.site_names:
            handle = denoiser.site_module(site).register_forward_hook(attachment.hook(site))
            stack.callback(handle.remove)
        yield attachment
