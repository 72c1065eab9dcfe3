"""What all encoders have in common: parts that keep still while the rest trains."""

from __future__ import annotations

from torch import nn

# transformers hands PyTorch the momentum 0.99 of Keras, which means the opposite there: running
# statistics would be those of the last batch alone.
BATCH_NORM_MOMENTUM = 0.01


class Encoder(nn.Module):
    """A network of which some modules keep still: no gradient, no dropout, no running statistics.

    Modules in `frozen` have no trainable parameters; those in `still` keep their affine weights
    trainable but never leave evaluation mode.
    """

    def __init__(self) -> None:
        super().__init__()
        # A tuple of modules is not registered, so nothing is saved twice.
        self._frozen: tuple[nn.Module, ...] = ()
        self._still: tuple[nn.Module, ...] = ()

    def freeze(self, *modules: nn.Module) -> None:
        """No parameter of these will train."""
        self._frozen = (*self._frozen, *modules)
        for module in modules:
            module.requires_grad_(False)
        self.train(self.training)

    def settle_batch_norms(self, kind: str) -> None:
        """Keep the running statistics ("frozen"), or learn them at a sane pace ("batch")."""
        norms = tuple(module for module in self.modules() if isinstance(module, nn.BatchNorm2d))
        for norm in norms:
            norm.momentum = BATCH_NORM_MOMENTUM
        if kind == "frozen":
            self._still = norms
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Change the mode of all but the modules that keep still."""
        super().train(mode)
        for module in (*self._frozen, *self._still):
            module.eval()
        return self
