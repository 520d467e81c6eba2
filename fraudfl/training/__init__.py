"""One loop per way to train: plain, proximal, DP-SGD."""
