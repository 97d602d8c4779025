"""What `auto` means for devices and number types."""

from __future__ import annotations

import pytest

from echoreel_cli import devices
from echoreel_index.errors import UsageError


def test_the_cpu_is_always_there() -> None:
    assert devices.devices()[-1].name == "cpu"
    assert devices.pick_device("cpu") == "cpu"
    assert devices.cores() >= 1
    total, free = devices.memory()
    assert total and free and 0 < free <= total


def test_auto_prefers_an_accelerator() -> None:
    import torch

    picked = devices.pick_device("auto")
    assert picked.startswith("cuda") if torch.cuda.is_available() else picked in ("cpu", "mps")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no device 'cuda:99'") as caught:
        devices.pick_device("cuda:99")
    assert caught.value.hint and "cpu" in caught.value.hint


@pytest.mark.parametrize(("wanted", "given"), [("auto", "float32"), ("bf16", "bfloat16"), ("fp16", "float16"), ("float32", "float32")])
def test_number_types(wanted: str, given: str) -> None:
    import torch

    assert devices.pick_dtype(wanted, "cpu") == given
    assert isinstance(getattr(torch, given), torch.dtype)


def test_an_unknown_number_type_is_refused() -> None:
    with pytest.raises(UsageError, match="float8"):
        devices.pick_dtype("float8", "cpu")
