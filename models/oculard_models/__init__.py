"""Estimators, their bundles, and the laboratory that makes them."""

import os

# Since 1.29 onnxruntime tells its maker which networks it loads, unless this stands there before it is imported: the
# one setting of the environment that is made here, because no other place comes before every import of it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
