"""
Pin the base images in compose.yaml by digest, or check that they are pinned.

    python docker/pin.py           asks the registry for the digest of each tag, and writes it
    python docker/pin.py --check   exits with 1 and names each image without a digest

A tag can be moved to other content at any time; a digest names the content. The tag stays beside
the digest for readers and for the next run, which writes the digest that the tag then has.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import httpx

COMPOSE = Path(__file__).parents[1] / "compose.yaml"
_NAMED = re.compile(r"(?<=_IMAGE:-)[^}]+")
_HUB = "registry-1.docker.io"
# an index of several platforms, or one platform's image
_KINDS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class Image(NamedTuple):
    """A base image as compose.yaml names it."""

    name: str
    tag: str
    digest: Optional[str]

    @classmethod
    def read(cls, text: str) -> Image:
        """Read `name:tag` or `name:tag@sha256:...`."""
        tagged, _, digest = text.partition("@")
        name, _, tag = tagged.rpartition(":")
        return cls(name, tag, digest or None)

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


def images(text: str) -> List[Image]:
    """Return the base images that *text* names."""
    return [Image.read(named) for named in _NAMED.findall(text)]


def digest_of(image: Image, client: httpx.Client) -> str:
    """Ask the registry for a tag's current digest; raise httpx.HTTPError if it gives none."""
    host, _, path = image.name.partition("/")
    if "." not in host and ":" not in host:  # a name of Docker Hub
        host, path = _HUB, image.name if "/" in image.name else f"library/{image.name}"
    scheme = "http" if host.startswith("127.0.0.1:") else "https"
    url = f"{scheme}://{host}/v2/{path}/manifests/{image.tag}"
    answer = client.head(url, headers={"Accept": _KINDS})
    if answer.status_code == 401:
        token = _token(answer.headers["WWW-Authenticate"], client)
        answer = client.head(url, headers={"Accept": _KINDS, "Authorization": f"Bearer {token}"})
    return str(answer.raise_for_status().headers["Docker-Content-Digest"])


def _token(challenge: str, client: httpx.Client) -> str:
    asked: Dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    answer = client.get(asked.pop("realm"), params=asked).raise_for_status().json()
    return str(answer.get("token") or answer["access_token"])


def pin(text: str, client: httpx.Client) -> str:
    """Return *text* with the current digest of each tag."""

    def pinned(match: re.Match[str]) -> str:
        image = Image.read(match[0])
        return str(image._replace(digest=digest_of(image, client)))

    return _NAMED.sub(pinned, text)


def main() -> int:
    """Pin or check; return 3 if a registry does not answer."""
    parser = argparse.ArgumentParser(description="Pin the base images by digest.")
    parser.add_argument(
        "--check", action="store_true", help="only name the images without a digest"
    )
    check = parser.parse_args().check
    text = COMPOSE.read_text()
    if check:
        loose = [image for image in images(text) if not image.digest]
        for image in loose:
            print(f"{image} has no digest; run: make pin")
        return 1 if loose else 0
    try:
        with httpx.Client(timeout=30, follow_redirects=True) as client:
            COMPOSE.write_text(pin(text, client))
    except httpx.HTTPError as e:
        print(f"nothing was changed, because a registry does not answer: {e}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
