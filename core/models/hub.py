"""Fetching a model from the Hugging Face hub: what is needed, what is there, what is left to do.

    pull = plan_pull(find_download("lingbot"), to=Path("checkpoints/lingbot"))
    pull.check_space()
    fetch(pull)                      # core.models.hub_fetch

Tokens, proxies and HF_ENDPOINT are as in every program that uses huggingface_hub, which does the talking.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import InputError, ModelFilesError, OutputError
from core.models.downloads import Download, Part
from core.models.hub_errors import explain, hub_errors, need_hub
from core.models.hub_files import RemoteFile
from core.models.hub_places import Place, choose_place

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

DEFAULT_REVISION: Final = "main"
SPACE_MARGIN_BYTES: Final = 1_000_000_000
"""Free space that a fetch leaves to others."""


@dataclass(frozen=True)
class PlannedFile:
    """A file, and how much of it is already there.

    Attributes:
        remote: The file on the hub.
        received_bytes: What need not be fetched again.
        is_present: Whether nothing at all is left to do, links of a cache included.
    """

    remote: RemoteFile
    received_bytes: int
    is_present: bool

    @property
    def missing_bytes(self) -> int:
        """What is still to be fetched."""
        return self.remote.size_bytes - self.received_bytes


@dataclass(frozen=True)
class Pull:
    """Everything about a fetch before it starts.

    Attributes:
        download: The model and its layout.
        parts: The parts that are wanted.
        place: Where they go.
        files: Their files.
        endpoint: Address of the hub.
        revision: The revision that was asked for, as the hub names it.
    """

    download: Download
    parts: tuple[Part, ...]
    place: Place
    files: tuple[PlannedFile, ...]
    endpoint: str
    revision: str

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.remote.size_bytes for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """What is still to be fetched."""
        return sum(file.missing_bytes for file in self.files)

    @property
    def todo(self) -> tuple[PlannedFile, ...]:
        """The files that are not there yet."""
        return tuple(file for file in self.files if not file.is_present)

    @property
    def free_bytes(self) -> int:
        """Free space where the files go."""
        return shutil.disk_usage(_existing(self.place.root)).free

    def of_part(self, part: Part) -> tuple[PlannedFile, ...]:
        """The files of one part."""
        return tuple(file for file in self.files if file.remote.part == part)

    def check_space(self) -> None:
        """Make sure that what is missing fits.

        Raises:
            OutputError: It does not.
        """
        need, free = self.missing_bytes + SPACE_MARGIN_BYTES, self.free_bytes
        if self.missing_bytes and free < need:
            raise OutputError(
                f"the disk is too small: {_gigabytes(need)} needed, {_gigabytes(free)} free",
                where=str(self.place.root),
                hint="free some space, or choose another disk with --to DIR",
            )


def plan_pull(
    download: Download,
    *,
    parts: Iterable[str] | None = None,
    to: Path | None = None,
    revision: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Pull:
    """Ask the hub what there is, and look what is here. Fetches and writes nothing.

    Args:
        download: What is wanted.
        parts: Names of the wanted parts; None for those of the usual variant.
        to: A folder for this model alone; None for the first folder of `WORLDKV_CHECKPOINTS`, or else the
            Hugging Face cache.
        revision: Branch, tag or commit; None for the main branch.
        env: The environment.

    Raises:
        InputError: There is no such part or revision, or the destination is a file.
        ModelFilesError: The hub cannot be asked, does not let us in, or has other files than expected.
    """
    need_hub()
    from huggingface_hub import HfApi

    chosen = download.usual if parts is None else download.select(parts)
    repos = tuple(dict.fromkeys(part.repo for part in chosen))
    if revision is not None and len(repos) > 1:
        hint = f"choose parts of one repository with --part; these are in {' and '.join(repos)}"
        raise InputError("a revision belongs to one repository", where="--revision", hint=hint)
    place = choose_place(to, revision or DEFAULT_REVISION, env)
    if (nearest := _existing(place.root)).is_file():
        raise InputError(
            "a folder was expected, this is a file", where=str(nearest), hint="choose another --to"
        )
    hub = HfApi(endpoint=env.get("HF_ENDPOINT") or None)
    infos = {repo: _repository(hub, repo, revision or DEFAULT_REVISION) for repo in repos}
    files = tuple(
        PlannedFile(remote, place.received(remote), place.has(remote))
        for part in chosen
        for remote in _files(part, infos[part.repo], hub.endpoint)
    )
    return Pull(download, chosen, place, files, hub.endpoint, revision or DEFAULT_REVISION)


def _repository(hub: HfApi, repo: str, revision: str) -> ModelInfo:
    """Files, sizes and checksums of a repository; refuses early where its files are not for us."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT

    try:
        info = hub.model_info(repo, revision=revision, files_metadata=True, timeout=HF_HUB_ETAG_TIMEOUT)
        if info.gated and info.siblings:  # everybody may see the list, but not everybody may fetch
            first = hf_hub_url(repo, info.siblings[0].rfilename, revision=info.sha, endpoint=hub.endpoint)
            get_hf_file_metadata(first, endpoint=hub.endpoint)
    except hub_errors() as error:
        raise explain(error, repo=repo, endpoint=hub.endpoint) from error
    return info


def _files(part: Part, info: ModelInfo, endpoint: str) -> Iterator[RemoteFile]:
    """The files of a part."""
    url = f"{endpoint}/{part.repo}"
    wanted = [sibling for sibling in info.siblings or () if part.wants(sibling.rfilename)]
    if not wanted:
        problem = f"{part.repo} has no {' or '.join(part.patterns)}"
        raise ModelFilesError(problem, where=url, hint="its layout has changed; try another --revision")
    for sibling in sorted(wanted, key=lambda each: each.rfilename):
        yield _file(part, sibling, info.sha, url)


def _file(part: Part, sibling: RepoSibling, commit: str | None, url: str) -> RemoteFile:
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if commit is None or size is None or sibling.blob_id is None:
        problem = f"the hub tells no commit, size or checksum of {sibling.rfilename}"
        raise ModelFilesError(problem, where=url, hint="check HF_ENDPOINT: a mirror may leave them out")
    return RemoteFile(
        part=part,
        path=sibling.rfilename,
        commit=commit,
        size_bytes=size,
        blob_id=sibling.blob_id,
        sha256=sibling.lfs.sha256 if sibling.lfs else None,
    )


def _existing(path: Path) -> Path:
    """The nearest of `path` and its parents that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
