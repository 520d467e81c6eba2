"""One loop per way to train: plain, proximal, DP-SGD; and what a bank and the server each do in a shared step."""
