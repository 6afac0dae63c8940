"""Containers for challenges: a trained model as an image for FLARE or grand-challenge.org, and its test."""
