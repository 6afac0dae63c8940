"""The trainers that there are: the one list that `nnunet-ext list`, the documentation and the tests read."""

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

SHORT_VARIANTS = ("5epochs", "20epochs", "50epochs", "100epochs", "250epochs")
"""Every trainer also exists with these endings, as `nnUNetTrainerLKMUNet_50epochs`."""

PLAN = (
    "nnU-Net's standard plan with 1 channel and 14 classes: 2D, 8 stages, patch 512 x 512; "
    "3D, 6 stages, patch 128 x 128 x 128"
)
"""The plan that the numbers of parameters are for."""


@dataclass(frozen=True)
class Entry:
    """One trainer. Parameters are counted on `PLAN`; None where the network has no such dimension."""

    trainer: str
    network: str
    parameters_2d: int | None
    parameters_3d: int | None
    source: str
    status: str


LKM_PAPER = "MICCAI 2024, arXiv 2403.07332"
MLLA_PAPER = "arXiv 2410.23738, github.com/csyfjiang/MLLA-UNet; 3D: our extension"

STOCK_COMMANDS = "trained, killed, resumed, predicted by stock nnU-Net in 3D and 2D"
LARGER_SIZES = "trained and predicted by stock nnU-Net in 3D and 2D; killed and resumed in 2D"

ENTRIES = (
    Entry(
        "nnUNetTrainerLKMUNet",
        "LKM-UNet as its paper describes it: contiguous windows, derived from the plan",
        109_446_338,
        64_366_502,
        LKM_PAPER,
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerLKMUNetReleased",
        "LKM-UNet as its authors' code computes it: dilated grids, fixed windows",
        109_446_338,
        64_366_502,
        "github.com/wjh892521292/LKM-UNet",
        f"outputs and gradients equal the authors' code; {STOCK_COMMANDS}",
    ),
    Entry(
        "nnUNetTrainerLKMUNetNoMamba",
        "the residual U-Net of LKM-UNet without Mamba: the control",
        84_475_970,
        57_740_582,
        "ablation",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerMLLAUNet",
        "MLLA-UNet T: linear attention; 2D as published, 3D our extension",
        28_505_056,
        29_421_088,
        MLLA_PAPER,
        f"2D outputs equal the authors' code; {STOCK_COMMANDS}",
    ),
    Entry(
        "nnUNetTrainerMLLAUNetS",
        "MLLA-UNet S: deeper",
        47_127_904,
        48_380_320,
        MLLA_PAPER,
        f"parameter counts equal the authors' code; {LARGER_SIZES}",
    ),
    Entry(
        "nnUNetTrainerMLLAUNetB",
        "MLLA-UNet B: deeper and wider",
        105_557_520,
        107_721_840,
        MLLA_PAPER,
        f"parameter counts equal the authors' code; {LARGER_SIZES}",
    ),
    Entry(
        "nnUNetTrainerMLLAUNetReleased",
        "MLLA-UNet T with its authors' recipe: AdamW, cosine decay, 120 epochs",
        28_505_056,
        29_421_088,
        "github.com/csyfjiang/MLLA-UNet, the script for WORD",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerUMambaBot",
        "U-Mamba Bot: one Mamba at the bottleneck of the same residual U-Net",
        86_171_714,
        58_416_422,
        "arXiv 2401.04722",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerMetaMambaUNet",
        "Meta Mamba UNet: Mamba after two convolutions, inside their residual connection",
        56_994_370,
        33_947_174,
        "arXiv 2503.17540, no code known: much inferred",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerMetaMambaUNetNoMamba",
        "the same network and deep supervision without Mamba: the control",
        49_065_410,
        31_815_334,
        "ablation",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerMixedMLPUNet",
        "Mixed-MLP MM-UNet: local token mixing at several scales; 3D is our extension",
        30_107_338,
        23_068_118,
        "arXiv 2408.08600, no code known: much inferred",
        STOCK_COMMANDS,
    ),
    Entry(
        "nnUNetTrainerMixedMLPUNetPaper",
        "the same network with its paper's recipe, as far as known: SGD, cross-entropy, 150 epochs",
        30_107_338,
        23_068_118,
        "arXiv 2408.08600",
        STOCK_COMMANDS,
    ),
)


def table() -> Table:
    """The entries as a table that fits 80 columns."""
    result = Table(box=box.HORIZONTALS, caption=f"Parameters for {PLAN}.", caption_justify="left", show_lines=True)
    result.add_column("trainer", no_wrap=True)
    result.add_column("parameters", no_wrap=True)
    result.add_column("network", overflow="fold")
    for entry in ENTRIES:
        counts = (("2D", entry.parameters_2d), ("3D", entry.parameters_3d))
        parameters = "\n".join(f"{name} {count / 1e6:6.1f} M" for name, count in counts if count)
        result.add_row(entry.trainer, parameters, f"{entry.network}\nfrom: {entry.source}\ntested: {entry.status}")
    return result


def run() -> int:
    """Print the table; returns 0."""
    console = Console(highlight=False)
    console.print(table())
    console.print(
        f"Each also as {', '.join(f'_{ending}' for ending in SHORT_VARIANTS)}, "
        f"for example: nnUNetv2_train DATASET 3d_fullres 0 -tr {ENTRIES[0].trainer}_{SHORT_VARIANTS[2]}",
        soft_wrap=True,
    )
    return 0
