"""The model card: a README.md that says what a model is, how good, how to run it, and what may be done with it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from nnunet_ext import __version__, catalogue
from nnunet_ext.sharing import citations, metrics
from nnunet_ext.sharing.model import Model

NOT_STATED = "not stated by whoever exported this model: ask before you use it"
HUB_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""Names that the head of a card may use; the hub refuses a card with one that it does not know."""
PACKAGES = ("nnunetv2", "torch", "dynamic-network-architectures", "numpy")


@dataclass(frozen=True)
class Terms:
    """Licences in words or SPDX names; None if not given."""

    model: str | None
    data: str | None


def data_licence(dataset: Mapping[str, Any]) -> str | None:
    """What a dataset.json says about its licence; None if nothing, or nnU-Net's words for nothing."""
    for key in ("licence", "license"):
        said = dataset.get(key)
        if isinstance(said, str) and said.strip() and "didn't look it up" not in said:
            return said.strip()
    return None


def text(model: Model, trainer: Any, summaries: Mapping[str, metrics.Summary], terms: Terms) -> str:
    """The card in Markdown, with the head that the Hugging Face hub reads.

    Args:
        model: the model.
        trainer: its trainer's class.
        summaries: nnU-Net's summary.json by fold, for the folds that were validated.
        terms: the licences.
    """
    network = network_class(model, trainer)
    parts = [
        _head(terms, network),
        f"# {model.dataset_name}, {_network_name(network)}, {model.configuration}",
        _description(model, trainer, network),
        "## How good it is\n\n" + _metrics(model, summaries),
        "## Install and predict\n\n" + _commands(model, trainer, network),
        "## Versions\n\nExported with, and loaded once by, "
        + ", ".join([f"nnunet-ext {__version__}", *(f"{name} {version(name)}" for name in PACKAGES)])
        + ".",
        f"## Licence\n\n- of the model: {_line(terms.model or NOT_STATED)}\n- of the data that it was trained on: "
        f"{_line(terms.data or NOT_STATED)}",
        "## Safe to load\n\nThe checkpoints hold tensors, numbers and text: `torch.load(file, weights_only=True)` "
        "opens them. The optimiser's state and the log of the training were left out, so training cannot be continued "
        "with `--c`; `-pretrained_weights` works.",
        "## Cite\n\n```bibtex\n" + "\n\n".join(citations.of_network(network)) + "\n```",
    ]
    reference = model.dataset.get("reference")
    if isinstance(reference, str) and reference.strip():
        parts.append(f"The data: {_line(reference)}")
    return "\n\n".join(parts) + "\n"


def network_class(model: Model, trainer: Any) -> str:
    """The dotted path of the network: a trainer of ours names it, for others the plans do."""
    named = getattr(trainer, "network_class", None)
    return named if isinstance(named, str) else str(model.configuration_entries["architecture"]["network_class_name"])


def _head(terms: Terms, network: str) -> str:
    lines = ["---", "library_name: nnunetv2", "pipeline_tag: image-segmentation"]
    if terms.model and terms.model.lower() in HUB_LICENCES:
        lines.append(f"license: {terms.model.lower()}")
    elif terms.model:
        lines += ["license: other", f"license_name: {re.sub('[^a-z0-9.]+', '-', terms.model.lower()).strip('-')}"]
    tags = ["nnunetv2", "medical-imaging", *(["nnunet-ext"] if network.startswith("nnunet_ext.") else [])]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _description(model: Model, trainer: Any, network: str) -> str:
    dataset = model.dataset
    patch, spacing = (_sizes(model.configuration_entries[key]) for key in ("patch_size", "spacing"))
    rows = [
        ("network", _network_in_words(trainer, network)),
        ("trainer", f"`{model.trainer}`"),
        ("plans, configuration", f"`{model.plans_name}`, `{model.configuration}`"),
        ("patch size, spacing", f"{patch} voxels of {spacing} mm"),
        ("data set", f"{model.dataset_name}, {dataset.get('numTraining', 'an unknown number of')} training cases"),
        ("input", _channels(dataset)),
        ("labels", ", ".join(f"{name} = {value}" for name, value in dataset.get("labels", {}).items())),
        ("folds", ", ".join(model.folds)),
    ]
    for key in ("description", "release"):
        if isinstance(dataset.get(key), str) and dataset[key].strip():
            rows.append((key, dataset[key]))
    return table([["", ""], *([what, said] for what, said in rows)])


def _network_name(network: str) -> str:
    return network.rpartition(".")[2]


def _network_in_words(trainer: Any, network: str) -> str:
    entries = {entry.trainer: entry.network for entry in catalogue.ENTRIES}
    known = [entries[parent.__name__] for parent in trainer.__mro__ if parent.__name__ in entries]
    return f"{known[0]} (`{network}`)" if known else f"`{network}`"


def _channels(dataset: Mapping[str, Any]) -> str:
    channels = dataset.get("channel_names") or dataset.get("modality", {})  # the older name
    ending = dataset.get("file_ending", "")
    return ", ".join(f"{name} as `CASE_{int(number):04d}{ending}`" for number, name in channels.items())


def _sizes(sizes: Sequence[float]) -> str:
    return " × ".join(f"{size:g}" for size in sizes)


def _metrics(model: Model, summaries: Mapping[str, metrics.Summary]) -> str:
    if not summaries:
        return "Not validated: the training left no `validation/summary.json`."
    rows = metrics.dice_table(summaries, model.dataset.get("labels", {}))
    said = "nnU-Net's own validation, on the cases of each fold that it was not trained on."
    if "all" in summaries:
        said = "Fold `all` was validated on the cases that it was trained on: these figures say little."
    if model.checkpoint_name != "checkpoint_final.pth":
        said += f" nnU-Net validates `checkpoint_final.pth` unless told otherwise; here is `{model.checkpoint_name}`."
    return f"{said}\n\n{table(rows)}"


def _which_weights(model: Model) -> list[str]:
    other = model.checkpoint_name != "checkpoint_final.pth"
    return ["-f", *model.folds, *(["-chk", model.checkpoint_name] if other else [])]


def _commands(model: Model, trainer: Any, network: str) -> str:
    ours = network.startswith("nnunet_ext.")
    install = [f"nnunet-ext=={__version__}"] if ours else []
    install.append(f"nnunetv2=={version('nnunetv2')}")
    which = ["-d", model.dataset_name, "-c", model.configuration, "-tr", model.trainer, "-p", model.plans_name]
    from_results = ["nnUNetv2_predict", "-i", "IMAGES", "-o", "OUT", *which, *_which_weights(model)]
    from_folder = [
        *("nnUNetv2_predict_from_modelfolder", "-i", "IMAGES", "-o", "OUT"),
        *("-m", model.path.as_posix(), *_which_weights(model)),
    ]
    lines = [
        "```bash",
        shlex.join(["pip", "install", *install]),
        "# from the zip, into the folder that nnUNet_results names:",
        "nnUNetv2_install_pretrained_model_from_zip FILE.zip",
        shlex.join(from_results),
        "# or from the folder, without any variable:",
        shlex.join(from_folder),
        "```",
        "",
        "Without a GPU add `-device cpu`.",
    ]
    if not trainer.__module__.startswith(("nnunet_ext.", "nnunetv2.")):
        lines.append(
            f"The trainer `{model.trainer}` is neither nnU-Net's nor nnunet-ext's: nnU-Net needs its class, in a "
            "folder that the variable `nnUNet_extTrainer` names."
        )
    if "previous_stage" in model.configuration_entries:
        lines.append("It is the second stage of a cascade: add `-prev_stage_predictions` with those of the first.")
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is its head."""
    lines = ["| " + " | ".join(_line(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _line(said: str) -> str:
    """Somebody's text in one line, which neither ends a table's cell nor begins HTML."""
    return " ".join(said.split()).replace("|", "\\|").replace("<", "&lt;")
