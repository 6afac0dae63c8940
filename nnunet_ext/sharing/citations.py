"""What to cite for a model: nnU-Net and the network's own paper, from citations.bib."""

import re
from importlib import resources

NNUNET = "isensee2021nnunet"
PAPERS = {
    "LKMUNet": ("wang2024lkmunet",),
    "MLLAUNet": ("jiang2024mllaunet", "han2024mlla"),
    "MetaMambaUNet": ("xie2025mmunet",),
    "MixedMLPUNet": ("xiao2024mmunet",),
    "UMambaBot": ("ma2024umamba",),
}
"""BibTeX keys for each class in nnunet_ext.architectures."""


def entries() -> dict[str, str]:
    """The BibTeX entries by key."""
    text = resources.files("nnunet_ext.sharing").joinpath("citations.bib").read_text(encoding="utf-8")
    found = [entry.strip() for entry in re.split(r"\n(?=@)", text.strip())]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in found}


def of_network(network_class: str) -> list[str]:
    """The BibTeX entries for a network, given by its dotted path; nnU-Net's alone if it is none of ours."""
    package, _, name = network_class.rpartition(".")
    ours = PAPERS.get(name, ()) if package.startswith("nnunet_ext") else ()
    known = entries()
    return [known[key] for key in (NNUNET, *ours)]
