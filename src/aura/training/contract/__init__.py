"""The network of the locked Model Contract (profile `contract-v1`), told in docs/contract.md.

python -m aura.training.contract describe   tensors, parameters, step time and memory
python -m aura.training.contract fetch      the public encoder weights, pinned, as safetensors
python -m aura.training.contract convert    a pickled checkpoint into safetensors
"""
