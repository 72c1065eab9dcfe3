"""Why: which places of a face, which moments of the sound, which detector. Needs no PyTorch.

Only what turns a finished analysis into pictures lives here; the parts of the report that name
them are in `aura.explanation`. Nothing here changes a number of the verdict.
"""
