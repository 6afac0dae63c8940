"""`nnunet-ext convert`: public benchmarks, as they are downloaded, to nnU-Net raw datasets with their official splits.

Each benchmark's file (`flare22.py`, ...) declares what is its own: where the cases lie in the download, what their
labels mean, which split its papers use, licence and citation. The rest is shared: `source.py` reads an archive or a
folder, `volumes.py` and `pictures.py` convert one case, `check.py` compares geometry and organ positions, `building.py`
keeps an unfinished dataset out of nnU-Net's sight, `convert.py` does it all.
"""
