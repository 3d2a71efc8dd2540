"""Where an original goes once it is in custody: below another folder under the same path, over nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from oculard.intake.listing import Entry, open_parent, stamp_of


def put_away(root: Path, entry: Entry, to: Path) -> bool:
    """Move a file that is still the one that was taken, and say so; another one in its place stays. Raises OSError."""
    to.stat()  # a folder that is not there may be a disk that is not mounted: it is not made
    target = free_name(to / entry.below)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_parent(root, entry.below) as parent:
        status = os.stat(entry.below.name, dir_fd=parent, follow_symlinks=False)  # as late as can be
        if not stat.S_ISREG(status.st_mode) or stamp_of(status) != entry.stamp:
            return False
        os.rename(entry.below.name, target, src_dir_fd=parent)
    return True


def free_name(path: Path) -> Path:
    """A path that nothing has yet: itself, or with a number before its suffix."""
    free, number = path, 0
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free
