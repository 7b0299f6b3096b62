"""Fetching from a Hub and sending to one, by the package `huggingface_hub` (extra `[hub]`).

Only files that a generator or a zoo is made of are fetched (`places.FILES`): data, no code. They
are put in place when all are there and whole.
"""

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hyperpolicy import files
from hyperpolicy.errors import BadFile, MissingExtra, NoHub
from hyperpolicy.hub import places
from hyperpolicy.hub.places import CARD, FILES, MARKS, Named

MOST_BYTES = 8 * 2**30
"""Of a repository that is fetched."""


def fetch(named: Named, out: Path, check: Callable[[Path], object], replace: bool = False) -> Path:
    """The directory `out` with what a Hub has under a name; `check` raises where it is not whole,
    and then nothing is left. Addresses are asked in their order.

    Raises:
        NoHub: no address has it, or none answers; the message says which.
        MissingExtra: the extra is not installed.
        BadFile: something else lies there under that name, or more than 8 GB.
        AlreadyExists: `out` exists, and is not to be replaced.
    """
    asked, said = places.addresses(), []
    looked = f"no folder has it ({', '.join(map(str, places.folders()))})"
    if other := places.other_kind(named):
        raise NoHub(f"{named.name}: {other}")
    if not asked:
        raise NoHub(f"{named.name}: {looked}, and HF_HUB_OFFLINE is set")
    for address in asked:
        hub = _hub()
        try:
            names = _wanted(hub.HfApi(endpoint=address), named)
            with files.directory(out, replace) as new:
                for name in names:
                    _download(hub, named, name, new, address)
                shutil.rmtree(new / ".cache", ignore_errors=True)  # the library's own notes
                check(new)
            return out
        except hub.errors.RepositoryNotFoundError:
            said.append(f"{address} has none")
        except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
            said.append(f"{address}: {_short(error)}")
        except OSError as error:  # whatever its network library raises
            said.append(f"{address} does not answer ({_short(error)})")
        except Exception as error:
            if type(error).__module__.split(".")[0] not in (
                "httpx",
                "httpx2",
                "httpcore",
                "requests",
            ):
                raise
            said.append(f"{address} does not answer ({_short(error)})")
    raise NoHub(f"cannot fetch {named.name}: {looked}; {'; '.join(said)}")


def send(named: Named, folder: Path, address: str | None, private: bool = False) -> str:
    """Where a Hub now has what is in `folder`; a new revision where it had some. Raises NoHub: it
    does not answer, or does not take it; MissingExtra."""
    hub = _hub()
    address = address or next(iter(places.addresses()), None)
    if address is None:
        raise NoHub("HF_HUB_OFFLINE is set, so no hub is asked; send it to a folder with --to")
    api = hub.HfApi(endpoint=address)
    try:
        api.create_repo(named.name, repo_type=named.kind, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=named.name,
            repo_type=named.kind,
            folder_path=folder,
            commit_message="Upload by hyperpolicy",
        )
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = "log in with `hf auth login`, or " if status in (401, 403) else ""
        raise NoHub(
            f"{address} does not take {named.name} ({_short(error)}); {login}send it to a folder "
            "with --to"
        ) from None
    return f"{address}/{'datasets/' if named.kind == 'dataset' else ''}{named.name}"


def _wanted(api: Any, named: Named) -> list[str]:
    """The files to fetch, the one that marks the rest as there last."""
    about = api.repo_info(named.name, repo_type=named.kind, files_metadata=True)
    found = {one.rfilename: one.size or 0 for one in about.siblings or []}
    wanted = {k: v for k, v in found.items() if FILES[named.kind].fullmatch(k) or k == CARD}
    mark = MARKS[named.kind]
    if mark not in wanted:
        what = "generator" if named.kind == "model" else "zoo"
        raise BadFile(f"{named.name} is no {what} of ours: it has no {mark}")
    if sum(wanted.values()) > MOST_BYTES:
        raise BadFile(f"{named.name} has {files.size_text(sum(wanted.values()))}; too much")
    return sorted(wanted, key=lambda name: (name == mark, name))


def _download(hub: Any, named: Named, name: str, into: Path, address: str) -> None:
    options = {"repo_type": named.kind, "local_dir": into, "endpoint": address}
    hub.hf_hub_download(named.name, name, **options)


def _hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import_module("huggingface_hub.errors")
        return import_module("huggingface_hub")
    except ImportError:
        raise MissingExtra(
            "names on a hub need huggingface_hub: pip install 'hyperpolicy[hub]'"
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
