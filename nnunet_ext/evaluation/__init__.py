"""Evaluation of predictions: named protocols with the definitions that published numbers rest on."""
