"""Sharing trained models: export to a folder, a zip or the Hugging Face hub, and import of the authors' checkpoints."""
