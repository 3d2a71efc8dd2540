"""The one way to timm: see `operators` for what it needs on machines without CUDA."""

from __future__ import annotations

from oculard_models.nets.operators import declare_operators

declare_operators()

from timm import create_model  # noqa: E402  # timm imports torchvision, which needs the operators

__all__ = ["create_model"]
