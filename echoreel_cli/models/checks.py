"""What can be told about weights before anything is generated with them: names, shapes, values, and that the right parts act."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

OTHER_NETWORK = "the file belongs to another network, or to another version of it"


def check_state(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Every name and shape of a state dict against the network it is for (which may be on the meta device).

    Raises:
        WeightsError: a weight is missing, unknown or of another shape; it names the first and how many there are.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    unknown = sorted(set(state) - set(wanted))
    if unknown:
        near = difflib.get_close_matches(unknown[0], wanted, n=1, cutoff=0.0)
        raise WeightsError(
            f"{what}: unknown weight {unknown[0]!r}{_more(unknown)}", hint=f"the nearest known one is {near[0]!r}; {OTHER_NETWORK}"
        )
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise WeightsError(f"{what}: weight {missing[0]!r} is missing{_more(missing)}", hint=OTHER_NETWORK)
    wrong = [key for key, shape in wanted.items() if tuple(state[key].shape) != shape]
    if wrong:
        found = tuple(state[wrong[0]].shape)
        raise WeightsError(f"{what}: {wrong[0]!r} has shape {found}, expected {wanted[wrong[0]]}{_more(wrong)}", hint=OTHER_NETWORK)


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """WeightsError if a weight is not a number or infinite."""
    for key, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"{what}: {key!r} holds values that are no finite numbers", hint="the file is damaged, or --dtype is too narrow"
            )


def checks_of_injection(unet: Mapping[str, Tensor]) -> Iterator[str]:
    """Sentences about the published weights of the injected attentions (published keys of the denoiser).

    Raises:
        WeightsError: the temporal injection gives nothing, so that no reference could have an effect.
    """
    acting = _outputs(unet, "video_inject_attn3_tmp")
    silent = [key for key, value in acting.items() if not value.any()]
    if silent:
        raise WeightsError(
            f"the injected attention {silent[0]!r} gives zero, as before training{_more(silent)}", hint="a reference would have no effect"
        )
    yield f"all {len(acting) // 2} injected temporal attentions act: none of their outputs is zero"
    dead = _outputs(unet, "video_inject_attn3")
    loud = [key for key, value in dead.items() if value.any()]
    if loud:
        yield f"{len(loud)} weights of the spatial injection's outputs are not zero; the published code never runs it, so it was dropped"
    elif dead:
        yield f"the spatial injection, which the published code never runs, is zero in all {len(dead) // 2} places; it was dropped"
    outer = _outer_rows(unet)
    if outer is not None:
        yield outer


def checks_of_prism(adapter: Mapping[str, Tensor]) -> None:
    """WeightsError for a prism that reads no text: without xformers the published code builds its cross-attention for itself."""
    words = adapter.get("video_inject_process.input_to_latent.weight")
    reader = adapter.get("video_inject_process.net.0.attn2.to_k.weight")
    if words is not None and reader is not None and reader.shape[1] != words.shape[0]:
        raise WeightsError(
            f"the prism's text attention reads {reader.shape[1]} channels, the text has {words.shape[0]}",
            hint="the file was written by a run without xformers, in which the published code builds another network",
        )


def compared(what: str, mine: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> str:
    """One sentence on how a checkpoint's frozen part differs from the base it was trained on, in the checkpoint's number type."""
    common = [key for key in mine if key in base and mine[key].shape == base[key].shape]
    if not common:
        return f"the base file holds no {what} to compare with"
    worst, where = 0.0, ""
    for key in common:
        difference = float((mine[key].float() - base[key].to(mine[key].dtype).float()).abs().max()) if mine[key].numel() else 0.0
        if difference > worst:
            worst, where = difference, key
    others = len(mine) - len(common)
    text = (
        f"the {what} equals the base file's in all {len(common)} tensors"
        if not worst
        else (f"the {what} differs from the base file's by up to {worst:.3g} ({where})")
    )
    return text + (f"; {others} tensors have no counterpart there" if others else "")


def _outputs(unet: Mapping[str, Tensor], attention: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in unet.items() if f".{attention}.to_out.0." in key}


def _outer_rows(unet: Mapping[str, Tensor]) -> str | None:
    """Whether the rows for the largest distances were ever trained: sixteen frames never reach them.

    Untouched, they still lie within the bounds of their Xavier initialisation, sqrt(6 / (rows + width)).
    """
    tables = [tensor for key, tensor in unet.items() if "video_inject_attn3_tmp.relative_position_" in key]
    if not tables:
        return None
    inside = all(float(table[[0, -1]].abs().max()) <= 1.01 * (6 / sum(table.shape)) ** 0.5 for table in tables)
    state = "look untrained" if inside else "were trained"
    return f"rows for distances beyond the clip {state}: references {'were never' if inside else 'may have been'} concatenated in training"


def _more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
