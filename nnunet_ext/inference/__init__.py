"""Prediction with nnU-Net's labels in bounded memory, without worker processes."""
