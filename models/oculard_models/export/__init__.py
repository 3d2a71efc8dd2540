"""From a trained network to a bundle: ONNX file, parity check, manifest, card, figures, smaller variants."""

from oculard_models.export.bundle import Draft, Exported, ExportWrong, write_bundle
from oculard_models.export.drift import Drift, MaskDrift, OutputDrift
from oculard_models.export.network import INPUT, export_onnx, parity, run_onnx
from oculard_models.export.toml import manifest_toml
from oculard_models.export.variants import write_variant

__all__ = [
    "INPUT",
    "Draft",
    "Drift",
    "ExportWrong",
    "Exported",
    "MaskDrift",
    "OutputDrift",
    "export_onnx",
    "manifest_toml",
    "parity",
    "run_onnx",
    "write_bundle",
    "write_variant",
]
