"""Room on the disks of the private data folder, where there is one: the servers of script/server live there."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from ivy.probes import Finding

LEAST_BYTES = 1_000_000_000
LEAST_SHARE = 0.10
ELSEWHERE = "data-is-in"  # where the private servers could not reach the folder itself; written by script/setup


def folders() -> list[Path]:
    """The private data folder, and where its servers keep their data; empty without them."""
    folder = settings.BASE_DIR / "var"
    found = [folder]
    with suppress(OSError):
        found.append(Path((folder / ELSEWHERE).read_text().strip()))
    return [one for one in found if one.is_dir()]


def look(where: Iterable[Path], *, least_bytes: int = LEAST_BYTES, least_share: float = LEAST_SHARE) -> Finding | None:
    """The folder with the least room; None without a folder."""
    usages = [(folder, shutil.disk_usage(folder)) for folder in where]
    if not usages:
        return None
    folder, usage = min(usages, key=lambda one: one[1].free)
    share = usage.free / usage.total if usage.total else 0.0
    words = f"{usage.free / 1e9:.1f} GB free ({share:.0%}) at {folder}"
    facts = {"free_bytes": usage.free, "free_share": round(share, 4)}
    is_well = usage.free >= least_bytes and share >= least_share
    return Finding(is_well, words, "" if is_well else "full", facts)
