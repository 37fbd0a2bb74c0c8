"""The user's own code at the service: `client.plugins`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

from normlab.client.transport import Part
from normlab.errors import InvalidSpec
from normlab.plugins.origins import origin_of
from normlab.plugins.sources import read_source
from normlab.records.plugins import PluginList, PluginRecord, PluginSource, PluginUpload


class Plugins(Part):
    """The part of a Client that is about plugins: `client.plugins`."""

    def list(self) -> PluginList:
        """Return the plugins of the stack, and the operator's that cannot be used."""
        return PluginList.model_validate_json(self.transport.send("GET", "/plugins").content)

    def upload(self, path: Union[str, Path], project: Optional[str] = None) -> PluginRecord:
        """
        Upload a file or a folder; its `digest` goes into `code` of a job.

        The same content is kept once, whatever its name or owner.

        Args:
            path: the path of the file or folder.
            project: whose members see it; None: `default`, or the only one that you may submit to.

        Raises:
            NotFound: nothing is at *path*.
            InvalidSpec: it is no plugin, or its code fails; the message has the reason.
            Forbidden: this stack accepts no code from you.
        """
        path = Path(path)
        source = read_source(path)
        files = {}
        for name, content in source.files.items():
            try:
                files[name] = content.decode()
            except UnicodeDecodeError as e:
                raise InvalidSpec(
                    f"{path}: {name} is not text in UTF-8; keep data elsewhere"
                ) from e
        made = PluginUpload(name=source.name, files=files, origin=origin_of(path))
        return self.send(made, project)

    def send(self, upload: PluginUpload, project: Optional[str] = None) -> PluginRecord:
        """Upload files that were already read."""
        body, params = upload.model_dump(mode="json"), {"project": project}
        answer = self.transport.send("POST", "/plugins", json=body, params=params, repeatable=True)
        return PluginRecord.model_validate_json(answer.content)

    def source(self, digest: str) -> PluginSource:
        """Return the files of the plugin with *digest*."""
        answer = self.transport.send("GET", f"/plugins/{digest}/source")
        return PluginSource.model_validate_json(answer.content)
