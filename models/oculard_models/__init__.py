"""Estimators, their bundles, and the laboratory that makes them."""

import os

# Since 1.29 onnxruntime tells its maker which networks it loads, unless this stands there before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
