"""Public checkpoints turned into networks that `aura.runtime` opens: read without running anything
that came with them, put into code of this project or of transformers, written as ONNX, compared.
"""
