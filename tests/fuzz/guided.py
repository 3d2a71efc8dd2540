"""Coverage leads: the same targets by atheris, where somebody has installed it (it is no dependency of ours)."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

from fuzz.running import Target


def guide(target: Target, folder: Path, seconds: float) -> None:
    """Feed a target what reaches further and further into it; what it dies of stays in the folder."""
    import atheris

    work = folder / target.name
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with target.prepared(work) as ready:
        for number, seed in enumerate(ready.seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        atheris.instrument_all()
        began = monotonic()

        def feed(data: bytes) -> None:
            if data and monotonic() - began < seconds:
                ready.feed(data)

        options = [f"-max_total_time={int(seconds)}", f"-artifact_prefix={work}/crash-", "-max_len=262144"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], feed)
        atheris.Fuzz()
