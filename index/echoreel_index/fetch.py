"""Weights and vocabulary of an open_clip model: from the cache of the hub, over the network only when they are not there.

The hub's own client asks the network first and, without one, tries for half a minute a file, with a page of log lines,
also when everything is in its cache. So the cache is asked first, and a network whose names do not resolve not at all.
"""

from __future__ import annotations

import json
import logging
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONFIG_NAME = "open_clip_config.json"
VOCABULARY_NAME = "bpe.txt.gz"
LOCAL = "local-dir:"


def load_model(spec: str, tag: str | None) -> tuple[Any, Any]:
    """(model, tokenizer) of open_clip's `spec` (`local-dir:...`, `hf-hub:...` or a model's name with `tag`), weights loaded.

    Raises whatever open_clip and the hub raise when that cannot be done.
    """
    with _silent_logs():
        if spec.startswith(LOCAL):
            return _load(spec, tag)
        try:
            with _cache_only():
                return _load(spec, tag)
        except Exception:
            if not _reachable():
                raise
        return _load(spec, tag)


def _load(spec: str, tag: str | None) -> tuple[Any, Any]:
    import open_clip

    model = open_clip.create_model(spec, pretrained=tag, load_weights=True, require_pretrained=True)
    return model, _tokenizer(spec)


def _tokenizer(spec: str) -> Any:
    import open_clip

    folder = Path(spec.removeprefix(LOCAL))
    if not spec.startswith(LOCAL) or not (folder / VOCABULARY_NAME).is_file():
        return open_clip.get_tokenizer(spec)
    from open_clip.tokenizer import SimpleTokenizer

    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    length = config["model_cfg"]["text_cfg"].get("context_length", 77)
    return SimpleTokenizer(bpe_path=str(folder / VOCABULARY_NAME), context_length=length)


@contextmanager
def _cache_only() -> Iterator[None]:
    """The hub's client answers from its cache or fails at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    """Whether it makes sense to ask the network at all."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    host = urlsplit(constants.ENDPOINT)
    if host.scheme in urllib.request.getproxies():
        return True  # the proxy resolves names, we need not be able to
    try:
        socket.getaddrinfo(host.hostname, host.port or 443)
    except OSError:
        return False
    return True


@contextmanager
def _silent_logs() -> Iterator[None]:
    """open_clip and the hub write to the root logger, which prints; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
