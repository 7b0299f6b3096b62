"""Where generators and zoos are looked for by name, `user/name`.

HYPERPOLICY_HUB lists places, with commas between them: folders, which are looked at first and need
no network, and addresses of a Hub or its mirrors. A folder holds `models/user/name` for generators
and `datasets/user/name` for zoos, as the Hub calls them; what was fetched is kept in one of ours.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyperpolicy.devices import cache_directory
from hyperpolicy.errors import BadSetting

Kind = Literal["model", "dataset"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
HUB = "https://huggingface.co"
MARKS = {"model": "config.json", "dataset": "zoo.json"}
"""The file that is there when the rest is."""
FILES = {
    "model": re.compile(
        r"(committee/\d{1,4}/)?(config\.json|weights\.safetensors|provenance\.json)"
        r"|confidence\.json|evidence\.safetensors"
    ),
    "dataset": re.compile(r"zoo\.json|index\.jsonl|[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.safetensors"),
}
"""What is fetched and sent; everything else in a repository stays where it is."""
CARD = "README.md"


@dataclass(frozen=True)
class Named:
    """A generator (model) or a zoo (dataset) called `user/name`."""

    kind: Kind
    name: str

    def __post_init__(self):
        if not NAME.fullmatch(self.name) or ".." in self.name:
            raise BadSetting(
                f"{self.name!r} is no name on a hub; give USER/NAME, each of at most 96 letters, "
                "digits, . _ and -"
            )

    def under(self, folder: Path) -> Path:
        """Its directory in a folder."""
        return folder.joinpath(f"{self.kind}s", *self.name.split("/"))

    def is_in(self, folder: Path) -> bool:
        return (self.under(folder) / MARKS[self.kind]).is_file()


def is_name(text: str) -> bool:
    """Whether a text could be a name on a hub."""
    return NAME.fullmatch(text) is not None


def listed() -> list[str]:
    """The places of HYPERPOLICY_HUB. Raises BadSetting: one is neither a folder nor an address."""
    asked = map(str.strip, os.environ.get("HYPERPOLICY_HUB", "").split(","))
    found = [one for one in asked if one]
    for one in found:
        if not is_address(one) and not os.path.isdir(one):
            raise BadSetting(
                f"HYPERPOLICY_HUB: {one!r} is no folder, and no address that begins with http"
            )
    return found


def is_address(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def folders() -> list[Path]:
    """Folders that are looked into, in order; the last one is where fetched ones are kept."""
    return [Path(one) for one in listed() if not is_address(one)] + [kept()]


def addresses() -> list[str]:
    """Hubs that are asked, in order: those of HYPERPOLICY_HUB, else HF_ENDPOINT, else the Hugging
    Face Hub; none with HF_HUB_OFFLINE=1."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return []
    return list(filter(is_address, listed())) or [os.environ.get("HF_ENDPOINT", HUB)]


def kept() -> Path:
    """The folder of what was fetched."""
    compiled = cache_directory()  # beside what jax keeps
    return (compiled.parent if compiled else Path.home() / ".cache" / "hyperpolicy") / "hub"


def other_kind(named: Named) -> str:
    """What to tell a user who asked for a generator where a folder has a zoo of that name, or the
    other way round; '' where none has."""
    other = Named("dataset" if named.kind == "model" else "model", named.name)
    at = find(other)
    if at is None:
        return ""
    what = "a zoo" if named.kind == "model" else "a generator"
    return f"{at} is {what} of that name (hyperpolicy pull --kind)"


def find(named: Named) -> Path | None:
    """Its directory on this machine; None where no folder has it."""
    return next((named.under(one) for one in folders() if named.is_in(one)), None)
