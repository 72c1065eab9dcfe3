"""The lip-sync model: `python -m aura.training.sync STEP --out DIR [--data DIR]`.

Steps: `export-stem` (Whisper's front as ONNX), `fit` (the canonical correlation, with figures
cross-fitted by person), `evaluate` (the figures again, with noise and coding), each with the
committed config.json. Only what makes, measures and publishes this model lives here.
"""
