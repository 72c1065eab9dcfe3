"""The face detectors of the `lite` profile: blended faces and generated faces, one network.

python -m aura.training.visual prepare     aligned crops from the photos, cached in one file
python -m aura.training.visual generators  small networks that draw faces anew, for more fakes
python -m aura.training.visual train       resumable; checkpoints go to --out
python -m aura.training.visual convert     ONNX, pointwise convolutions in 8 bits
python -m aura.training.visual evaluate    held-out identities, with intervals
python -m aura.training.visual export      into the package, with its card
"""
