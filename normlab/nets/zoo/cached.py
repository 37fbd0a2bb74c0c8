"""Pretrained weights in the caches of Hugging Face's hub and torch; fetched only if allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, NoReturn, Optional, Sequence
from urllib.parse import urlparse

import torch

from normlab.nets.zoo.packages import package, refuse

_FIELD = "model.options.pretrained"


def from_hub(repository: str, names: Sequence[str], download: str) -> Path:
    """
    Return the first of the files *names* of *repository* in the user's cache.

    Args:
        repository: OWNER/NAME, or OWNER/NAME@REVISION.
        download: with "allow", fetch one if none is there.

    Raises:
        InvalidSpec: none is there, and fetching is not allowed or failed.
    """
    hub = package("huggingface_hub")
    repo, _, revision = repository.partition("@")
    for name in names:
        found = hub.try_to_load_from_cache(repo, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    where = Path(hub.constants.HF_HUB_CACHE)
    if download != "allow":
        _refuse_absent(f"{repo} ({' or '.join(names)})", where)
    return _fetched(hub, repo, names, revision or None)


def _fetched(hub: Any, repo: str, names: Sequence[str], revision: Optional[str]) -> Path:
    said: List[str] = []
    for name in names:
        try:
            return Path(hub.hf_hub_download(repo, name, revision=revision))
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as e:
            said += str(e).strip().splitlines()[:1]
    return refuse(_FIELD, f"{repo} could not be fetched: {'; '.join(said)}")


def from_url(url: str, download: str) -> Path:
    """
    Return the file of *url* in torch's cache.

    Args:
        download: with "allow", fetch it if it is not there.

    Raises:
        InvalidSpec: it is not there, and fetching is not allowed or failed.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    if path.is_file():
        return path
    if download != "allow":
        _refuse_absent(url, folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as e:
        refuse(_FIELD, f"{url} could not be fetched: {e}")
    return path


def _refuse_absent(what: str, where: Path) -> NoReturn:
    refuse(
        _FIELD,
        f"{what} is not in the cache of this worker ({where}), and a job fetches it only with "
        "download: allow; add that, or name a file with weights",
    )
