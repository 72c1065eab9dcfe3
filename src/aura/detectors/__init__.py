"""One file a detector; all follow the protocol in `base`, `registry` opens them."""
