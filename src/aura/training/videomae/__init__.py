"""A VideoMAE that was pretrained without labels gets a classifier of faces: `aura train --config
videomae`. What it writes is pulled by `aura weights` like any other checkpoint.
"""
