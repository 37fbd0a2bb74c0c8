"""Load the plugins of a job into this process, so that its network can be built here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from normlab.client import Client
from normlab.errors import InvalidSpec
from normlab.plugins.loading import load
from normlab.plugins.sources import PluginFiles
from normlab.records import JobDetail
from normlab.specs import registries
from normlab.specs.jobs import JobSpec


def spec_with_code(client: Client, job: JobDetail, trust_code: bool) -> JobSpec:
    """
    Return the specification of *job*, once the plugins that it names are in force here.

    Raises:
        InvalidSpec: it names some, and *trust_code* is false.
    """
    if not job.spec.code:
        return job.spec
    if not trust_code:
        raise InvalidSpec(
            f"job {job.id} uses code that somebody uploaded ({', '.join(job.spec.code)}), which "
            "would run here; read it with `normlab plugins`, then give trust_code=True"
        )
    there = registries.in_force()
    known = {plugin.digest for plugin in there}
    missing = [digest for digest in job.spec.code if digest not in known]
    if missing:
        folder = Path(tempfile.mkdtemp(prefix="normlab-code-"))  # modules may be read later too
        new = [_loaded(client, digest, folder) for digest in missing]
        registries.put_in_force([*there, *new])
    return JobSpec.model_validate(job.spec.model_dump(mode="json"))


def _loaded(client: Client, digest: str, folder: Path) -> registries.Plugin:
    sent = client.plugins.source(digest)
    files = {path: text.encode() for path, text in sent.files.items()}
    place = PluginFiles(sent.name, files).written_below(folder)
    return load(place, sent.name, digest).plugin()
