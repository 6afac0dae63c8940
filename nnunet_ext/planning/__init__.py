"""Planning: patch and batch sizes that fit a GPU, for every network; and how much memory a plan takes."""
