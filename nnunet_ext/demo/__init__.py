"""`nnunet-ext demo`: train a network and nnU-Net's own on real images, end to end, and write a report page.

Everything lies below the folder `out`: nnU-Net's three folders, the trainers with a short schedule, logs, predictions,
`report.html`, `report.json` and the pictures. Run again with the same settings, finished steps are skipped; a step that
was interrupted starts from its beginning; other settings redo what depends on them.

Without a CUDA device both networks train with a small plan (see `plans.py`), and validation and test cases are
predicted without test-time mirroring, so that two CPU cores are done within ten minutes of the start of training.
"""

from pathlib import Path

from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.progress import Reporter
from nnunet_ext.interrupt import sigterm_interrupts

__all__ = ["DemoError", "run"]


def run(data: str, trainer: str, epochs: int | None, out: Path, device: str) -> int:
    """Run the demo; returns the exit code: 0 done, 1 something is wrong and was said.

    Args:
        data: "mni152", "hippocampus", the hippocampus archive, or an nnU-Net raw dataset folder.
        trainer: trainer to compare with nnU-Net's own.
        epochs: epochs per network; None for the demo's own budget.
        out: folder for data, results and report.
        device: "auto" (a CUDA device if there is one, else the CPU), "cuda", "mps" or "cpu".
    """
    from nnunet_ext.demo.main import main

    reporter = Reporter()
    try:
        with sigterm_interrupts():
            main(data, trainer, epochs, out.expanduser().resolve(), device, reporter)
    except DemoError as error:
        reporter.say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        reporter.say("Interrupted; the same command goes on with the step that was running.")
        return 130
    return 0
