"""Making, measuring and publishing models (extra `train`). The core never imports this package."""
