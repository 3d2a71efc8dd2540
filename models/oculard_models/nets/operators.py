"""Declares two operators of torchvision where its compiled part does not load: torch for CPUs, its wheel for CUDA.

Without them `import torchvision` fails, and with it timm and lightning, although nothing here ever uses them.
"""

from __future__ import annotations

from functools import cache

import torch

NEEDED = {  # what torchvision registers shapes for while it is imported; their compiled code stays absent
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@cache  # and kept: the operators go when the library object goes
def declare_operators() -> torch.library.Library | None:
    """Declare what is absent, after torchvision had its chance to load its own; call it before timm or lightning."""
    try:
        import torchvision  # type: ignore[import-untyped, unused-ignore]  # noqa: F401  # is it whole?
    except RuntimeError as why:  # "operator torchvision::nms does not exist"
        if "torchvision::" not in str(why):
            raise
    except ModuleNotFoundError:
        return None
    else:
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call, unused-ignore]
    for name, schema in NEEDED.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call, unused-ignore]
    return library
