"""Writes the folder in which a network for layers is served: weights with their digest, manifest, card, figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from oculard_models.layer_manifest import LayerManifest
from oculard_models.manifest import Weights
from oculard_models.registry import CARD, MANIFEST
from oculard_models.runners.layer_network import load_layer_folder, load_layer_network

FILE, METRICS = "model.onnx", "metrics.json"
LICENCE, LEARNT_FROM = "Apache-2.0", "painted volumes alone"
SHOWN: Final = ("ILM", "RNFL/GCL", "IPL/INL", "BM")
CENTRE: Final = "disc centre"
Found = Mapping[tuple[object, ...], Mapping[str, object]]
Rows = Sequence[Mapping[str, object]]  # of `oculard-lab layers --painted`

CARD_TEXT = """\
# {name}

## What it is for / 用途

Research: it finds four boundaries (ILM, RNFL/GCL, IPL/INL, BM) in every B-scan of a structural OCT volume, and where
the disc's opening is. Other estimators read what is made of them; it reports no value itself. It is used where the
device sent no layers of its own. It is not a medical device; no diagnosis or treatment may rest on it.

研究用です。OCT ボリュームの各 B スキャンから 4 つの境界（ILM、RNFL/GCL、IPL/INL、BM）と視神経乳頭の開口部を検出します。
装置自身の層が送られていない場合にのみ使われます。医療機器ではありません。診断や治療の判断には使用しないでください。

## What it was trained on / 学習データ

Painted volumes alone (`oculard_models.data.paint_oct`), which are of nobody; each piece in another grey, grain, blur,
slant and thickness (`train/layers_looks.py`). **No volume of a person was in its training, and none with known layers
was at hand to measure it on.**

描画したボリュームのみで学習しました。**実在の眼のボリュームは学習にも評価にも使われていません。**

## How good it is / 性能

On {eyes} painted eyes that it did not learn from, {date}: mean absolute error in rows of the volume (2.6 um, of
`foreign` 3.6, of `foreign 2` 4.6), everywhere, and within 0.9 mm of the disc's edge. Beside it the graph `search`.

| volumes | found by | {heads} | near the disc: {heads_near} | disc centre, um |
|---|---|---|---|---|---|---|---|
{rows}

The painter that taught it judges it in the first four. `foreign` and `foreign 2` are other devices' looks, never used
in training. `foreign` was looked at while the network was built; `foreign 2` was written and frozen before any network
was measured on it, though by those who chose what training varies. Both have the painter's own anatomy.

## Limits / 限界

- Painted volumes are easier than people's: disease, motion, floaters, other devices were drawn by us or not at all.
- 描画データでの数値です。実際の装置での性能は分かりません。必ず `oculard-lab layers` の図で確認してください。
- Look at what it finds on your device: `oculard-lab layers VOLUMES --out pictures`. The daemon's
  `[glaucoma] layer_network = "search"` serves the graph search instead.
- It always gives four boundaries in their order, also where a disease has removed a layer. In black shadows below
  vessels, and at the disc's edge on a device that it does not know, it errs most; in noise it draws ILM too deep.

## Licence / ライセンス

{licence}.

How it was made: `{command}`
How it was measured: `{measured}`
"""


def write_layer_folder(folder: Path, network: Path, rows: Rows, *, version: str, measured: str, date: str) -> None:
    """Write a bare network with its figures as a new folder, and load it once. Raises NetworkWrong, OSError."""
    loaded = load_layer_network(network)
    content = network.read_bytes()
    manifest = LayerManifest(
        name=folder.name,
        version=version,
        licence=LICENCE,
        learnt_from=LEARNT_FROM,
        weights=Weights(file=FILE, sha256=hashlib.sha256(content).hexdigest()),
    )
    figures = {"command": loaded.command, "measured": measured, "date": date, "figures": list(rows)}
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content)
    (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(manifest, loaded.command, rows, measured, date), encoding="utf-8")
    (folder / MANIFEST).write_text(_toml(manifest), encoding="utf-8")
    load_layer_folder(folder)


def table_of(rows: Rows) -> list[str]:
    """One line a kind of volumes and finder, as the card and the README have them."""
    found: Found = {(row["volumes"], row["found by"], row["where"], row["what"]): row for row in rows}
    kinds = dict.fromkeys((row["volumes"], row["found by"]) for row in rows)
    lines = []
    for volumes, finder in kinds:
        cells = [str(volumes), str(finder)]
        cells += [_number(found, (volumes, finder, "everywhere", what)) for what in SHOWN]
        cells.append(", ".join(_number(found, (volumes, finder, "near the disc", what)) for what in SHOWN[1:]))
        cells.append(_number(found, (volumes, finder, "everywhere", CENTRE)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _number(found: Found, key: tuple[object, ...]) -> str:
    """One mean of the table, or a dash."""
    row = found.get(key)
    if row is None:
        return "-"
    mean = float(str(row["mean"]))
    return f"{mean:.0f}" if key[-1] == CENTRE else f"{mean:.2f}"


def _card(manifest: LayerManifest, command: str, rows: Rows, measured: str, date: str) -> str:
    return CARD_TEXT.format(
        name=manifest.name,
        eyes=rows[0]["eyes"],
        date=date,
        heads=" | ".join(SHOWN),
        heads_near=", ".join(SHOWN[1:]),
        rows="\n".join(table_of(rows)),
        licence=manifest.licence,
        command=command,
        measured=measured,
    )


def _toml(manifest: LayerManifest) -> str:
    """The manifest as TOML: JSON's strings are TOML's too."""
    content = manifest.model_dump()
    weights = content.pop("weights")
    lines = [f"{key} = {json.dumps(value)}" for key, value in content.items()]
    lines += ["", "[weights]", *(f"{key} = {json.dumps(value)}" for key, value in weights.items())]
    return "\n".join(lines) + "\n"
