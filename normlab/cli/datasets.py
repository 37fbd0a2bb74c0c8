"""`normlab datasets`: list them, fetch the public ones, and verify what is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer
from typer.core import TyperGroup

from normlab.cli.completion import data
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json, print_told
from normlab.errors import Conflict, InvalidSpec, NotFound
from normlab.stacks.addresses import datasets_of
from normlab.stored.addresses import PUBLICATIONS, Publication, archive_at

if TYPE_CHECKING:
    from normlab.specs.network_and_data import DatasetSpec

DataRoot = typer.Option(
    None,
    "--data-root",
    envvar="NORMLAB_DATA_ROOT",
    help="The folder of the datasets; default: `datasets` in the data folder of the stack.",
)


class _NamesToo(TyperGroup):
    """A group in which a word that is no command is the name of a dataset to show."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        known = {*self.commands, "--help", "-h"}
        return super().parse_args(ctx, args if args and args[0] in known else ["show", *args])


commands = typer.Typer(
    name="datasets", cls=_NamesToo, help="List the datasets, fetch public ones, verify files."
)


@commands.command(
    epilog=examples("normlab datasets", "normlab datasets show cifar10", "normlab datasets --json")
)
def show(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Show the options of this dataset.", show_default=False, autocompletion=data
    ),
    as_json: bool = AsJson,
) -> None:
    """List the datasets, and the files that are missing; with a name, its options."""
    from normlab.cli.catalogue import list_or_one

    columns = ["name", "task", "available", "num_classes", "train_size", "test_size", "missing"]
    with connect(ctx) as client:
        list_or_one("dataset", name, client.datasets(), columns, as_json)


@commands.command(
    epilog=examples(
        "normlab datasets fetch cifar10",
        "normlab datasets fetch imagenette --data-root /data",
        "normlab datasets fetch mnist --mirror http://files.example.org/datasets",
        "normlab datasets fetch https://files.example.org/birds.tgz --sha256 3b1f...",
    )
)
def fetch(
    ctx: typer.Context,
    name: str = typer.Argument(
        help=f"{', '.join(PUBLICATIONS)}; or the address of an archive NAME.tgz or NAME.tar.gz "
        "that holds a folder NAME."
    ),
    data_root: Optional[Path] = DataRoot,
    mirror: Optional[str] = typer.Option(
        None, help="Fetch URL/NAME/FILE in place of the publisher's files."
    ),
    sha256: Optional[str] = typer.Option(
        None, help="The SHA-256 of an archive that is given by its address."
    ),
    as_json: bool = AsJson,
) -> None:
    """Download a public dataset into the data root, check it, and unpack it.

    An interrupted download continues where it stopped. The dataset appears when it is complete.
    """
    from normlab.stored.fetching import fetch as fetch_all

    publication = _publication(name, mirror, sha256)
    root = _root(ctx, data_root)
    folder = fetch_all(_short(name, publication), publication, root, _ProgressLine, mirror)
    _refuse_if_not_it(name, publication, folder, root)
    told = {"name": name, "folder": str(folder), "use": publication.use}
    line = f"{folder} is there; normlab submit -s normalizer=batch {publication.use}"
    print_told(told, as_json, line)


@commands.command(
    epilog=examples(
        "normlab datasets verify mnist",
        "normlab datasets verify image_folder --folder flowers",
        "normlab datasets verify webdataset --folder shards --json",
    )
)
def verify(
    ctx: typer.Context,
    name: str = typer.Argument(help="A dataset of files.", autocompletion=data),
    folder: Optional[str] = typer.Option(None, help="The folder of pictures, below the data root."),
    file: Optional[str] = typer.Option(None, help="The file of arrays, below the data root."),
    data_root: Optional[Path] = DataRoot,
    as_json: bool = AsJson,
) -> int:
    """Read a whole dataset, and name what is truncated or damaged; exit 1 if anything is."""
    from normlab.stored.verifying import verify as verify_all

    root = _root(ctx, data_root)
    line = _ProgressLine(name)
    troubles = []
    for said in verify_all(_spec(name, folder, file), root, lambda what, i, n: line(i, n)):
        troubles.append(said)
        if not as_json:
            print(said, flush=True)
    if as_json:
        print_json({"name": name, "data_root": str(root), "troubles": troubles})
    elif not troubles:
        print(f"{name} below {root} is complete and intact")
    return 1 if troubles else 0


def _root(ctx: typer.Context, given: Optional[Path]) -> Path:
    return given or datasets_of(ctx.find_root().obj)


def _spec(name: str, folder: Optional[str], file: Optional[str]) -> DatasetSpec:
    from normlab.specs.datasets import DATASETS
    from normlab.specs.network_and_data import DatasetSpec

    facts = DATASETS.get(name)
    if facts is None:
        raise NotFound(f"there is no dataset {name!r}; use one of {', '.join(DATASETS)}")
    if facts.of_pictures and folder is None:
        raise InvalidSpec(f"{name} needs the name of its folder: --folder")
    if facts.of_arrays and file is None:
        raise InvalidSpec(f"{name} needs the name of its file: --file")
    if not facts.streams and not facts.files:
        raise InvalidSpec(f"{name} is made in memory and has no files to verify")
    return DatasetSpec.from_store({"name": name, "folder": folder, "file": file})


def _publication(name: str, mirror: Optional[str], sha256: Optional[str]) -> Publication:

    if _is_address(name):
        if sha256 is None or mirror is not None:
            raise InvalidSpec(f"{name}: an address needs --sha256, and takes no --mirror")
        return archive_at(name, sha256)
    if name not in PUBLICATIONS:
        known = ", ".join(PUBLICATIONS)
        raise NotFound(
            f"no address of {name!r} is known; there are {known}, and addresses with http:// or "
            "https://"
        )
    if sha256 is not None:
        raise InvalidSpec(f"--sha256 is for an address; the checksums of {name} are known")
    if mirror is not None and not _is_address(mirror):
        raise InvalidSpec(f"--mirror {mirror}: expected an address with http:// or https://")
    return PUBLICATIONS[name]


def _is_address(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _short(name: str, publication: Publication) -> str:
    return publication.folder if _is_address(name) else name


def _refuse_if_not_it(name: str, publication: Publication, folder: Path, root: Path) -> None:
    """Refuse a folder that already existed and is incomplete, or may be something else."""
    from normlab.specs.datasets import DATASETS
    from normlab.stored.fetching import was_fetched

    missing = DATASETS[name].missing(root) if name in DATASETS else []
    if missing:
        raise InvalidSpec(
            f"{folder} already exists and lacks {', '.join(missing)}; remove it, then fetch again"
        )
    if _is_address(name) and not was_fetched(publication, root):
        raise Conflict(
            f"{folder} already exists and is not from this archive; remove it, then fetch again"
        )


class _ProgressLine:
    """The progress of one file on standard error: a line that changes, or nothing in a pipe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = -1

    def __call__(self, here: int, whole: Optional[int]) -> None:
        percent = 100 * here // whole if whole else 0
        if not sys.stderr.isatty() or percent == self._shown:
            return
        self._shown = percent
        end = "\n" if here == whole else ""
        print(
            f"\r{self._name}: {percent} % of {whole or '?'}", end=end, file=sys.stderr, flush=True
        )
