"""What texts of a pattern are, in words."""

from __future__ import annotations

from typing import Mapping

WORDS: Mapping[str, str] = {
    r"^[a-z0-9][a-z0-9._-]*$": "must be small letters and digits, with . _ - after the first",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "must be letters and digits, with . _ - after the first",
    r"^[0-9a-f]{64}$": "must be a SHA-256 in 64 hex digits",
    r"^[A-Za-z0-9_./-]+\.(npz|safetensors)$": "must be a .npz or .safetensors file, whose name "
    "has letters, digits and . _ / - alone",
    r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,7}$": "must be a path of fields, such as optimizer.lr",
    r"^[^\s,\"'](?:[^,\"']*[^\s,\"'])?$": "must be text without commas, quotes and outer spaces",
}
"""By the pattern of a field; where one is missing, the pattern itself is told."""
