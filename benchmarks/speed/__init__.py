"""Speed: what a user would pick instead, beside ours, in one run. `make bench` writes results/bench.json."""
