"""The documentation: pages for readers, and `docs.drawing`, which makes their pictures and tables from the code."""
