"""The demo from end to end."""

from pathlib import Path

from nnunet_ext import __version__
from nnunet_ext.demo import folder, hippocampus, mni152, report, results, trainers
from nnunet_ext.demo.dataset import Dataset
from nnunet_ext.demo.errors import DemoError
from nnunet_ext.demo.pipeline import Pipeline
from nnunet_ext.demo.progress import Reporter
from nnunet_ext.demo.steps import Steps, key_of
from nnunet_ext.demo.trainers import Budget

CPU_BUDGET = Budget(epochs=16, iterations=16, validation_iterations=2)
"""Both networks train and test within ten minutes on two CPU cores."""
CUDA_BUDGET = Budget(epochs=20, iterations=50, validation_iterations=5)


def main(data: str, trainer: str, epochs: int | None, out: Path, device: str, reporter: Reporter) -> None:
    """Do everything; DemoError with a sentence for the user if something does not work."""
    report.check_requirements()
    device = choose_device(device)
    budget = CUDA_BUDGET if device == "cuda" else CPU_BUDGET
    if epochs is not None:
        if epochs < 1:
            raise DemoError("--epochs must be at least 1.")
        budget = Budget(epochs, budget.iterations, budget.validation_iterations)
    steps = Steps(out)
    reporter.say(f"nnunet_ext {__version__} demo on {results.device_name(device)}, writing to {out}")
    with reporter.step("Look up the trainers"):
        names = list(dict.fromkeys([trainer, trainers.STOCK]))
        for name in names:
            trainers.check(name)
        trainers.write(out / "trainers", names, budget, mirroring=device == "cuda")

    dataset, data_key = take_data(data, out, steps, reporter)
    pipeline = Pipeline(dataset, out, device, budget, steps, reporter, data_key)
    pipeline.plan()
    runs = [pipeline.run(name) for name in names]
    with reporter.step("Write the report"):
        found = results.collect(pipeline, runs)
        page = report.write(found, out)
    for net in found.networks:
        reporter.say(f"{net.trainer}: mean foreground Dice {net.mean_dice:.3f} on {found.test_cases} unseen cases")
    reporter.say(f"Report: {page}")


def choose_device(device: str) -> str:
    """`device`, or for "auto" a CUDA device if there is one, else the CPU; DemoError for one that is not there."""
    import torch

    from nnunet_ext.devices import find_device

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(find_device(device))
    except ValueError as error:
        raise DemoError(f"{error}.") from error


def take_data(data: str, out: Path, steps: Steps, reporter: Reporter) -> tuple[Dataset, str]:
    """The dataset in nnU-Net's raw folder below `out`, and a key that changes when its source does."""
    raw = out / "nnUNet_raw"
    # Nothing made from another dataset stays: nnU-Net refuses two datasets of one number.
    stale = [raw, out / "nnUNet_preprocessed", out / "nnUNet_results", out / "predictions"]
    if data == "mni152":
        key = key_of({"data": data, "version": __version__})

        def build_template() -> None:
            with reporter.step("Cut the MNI152 template into cases"):
                mni152.build(raw)

        steps.run("data", key, stale, build_template)
        return mni152.describe(raw), key

    archive = Path(data).expanduser()
    if data == "hippocampus" or archive.suffix == ".tar":
        with reporter.step("Fetch MSD Task04 Hippocampus", total=1.0) as step:
            source = hippocampus.fetch(out / "downloads", None if data == "hippocampus" else archive, step.advance)
    else:
        source = archive.resolve()
        if source.is_relative_to(out):
            raise DemoError(f"{source} lies inside {out}, which the demo writes; give --out another folder.")
    with reporter.step(f"Read {source}"):
        folder.read(source)
    key = key_of({"data": str(source), "files": folder.fingerprint(source)})
    steps.run("data", key, stale, lambda: _build_folder(source, raw))
    return folder.describe(source, raw), key


def _build_folder(source: Path, raw: Path) -> None:
    folder.build(source, raw)
