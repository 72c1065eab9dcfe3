"""Public checkpoints of the heavy profiles: which there are, and how they come onto this machine.

`catalogue.py` names them, `pins.py` remembers what was taken, `fetch.py` downloads. Turning one
into a network that `runtime` opens is `aura.training.public`, for that needs PyTorch. Nothing here
runs while a file is analysed.
"""
