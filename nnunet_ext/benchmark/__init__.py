"""The benchmark matrix: every network on every data set and fold, on one machine or on SLURM, with nnU-Net's commands.

A folder with a `matrix.json` is a benchmark. Its results lie where nnU-Net puts them, in `nnUNet_results`; the folder
itself holds only logs, device leases and notes on what ended. What is done is read from the results, never from notes.
"""
