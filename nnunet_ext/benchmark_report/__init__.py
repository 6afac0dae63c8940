"""The report on a benchmark matrix: tables, statistics and figures from the results that nnU-Net wrote.

It only reads: `matrix.json`, which names data sets, networks, folds and budget, and the folders below `nnUNet_results`.
A network whose folds are not all there is marked and left out of every mean and every test.
"""
