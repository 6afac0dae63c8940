"""`nnunet-ext export` and `nnunet-ext import-checkpoint`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nnunet_ext.interrupt import sigterm_interrupts


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands `export` and `import-checkpoint`."""
    export = commands.add_parser("export", help="a trained model as a folder or zip with a model card, safe to load")
    export.add_argument("model", type=Path, metavar="MODEL_FOLDER", help=".../DatasetXXX_Name/TRAINER__PLANS__CONFIG")
    export.add_argument("out", type=Path, metavar="OUT", help="a new file.zip, or a folder")
    export.add_argument("--folds", nargs="+", metavar="FOLD", help="numbers or all (default: the folds that are there)")
    export.add_argument("--checkpoint", default="checkpoint_final.pth", metavar="NAME", help="default: %(default)s")
    export.add_argument("--licence", "--license", help="of the model, for its card, as CC-BY-4.0")
    export.add_argument("--data-licence", "--data-license", help="of the data (default: what dataset.json says)")
    export.add_argument("--hub", metavar="USER/NAME", help="upload it to the Hugging Face hub, with your login there")
    export.add_argument("--private", action="store_true", help="to a repository on the hub that only you see")
    export.set_defaults(run=_export)

    import_ = commands.add_parser("import-checkpoint", help="a checkpoint of the authors' code as a model folder")
    import_.add_argument("network", choices=["lkm_unet"], help="whose code wrote it")
    import_.add_argument(
        "checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="checkpoint_final.pth of a fold, or of several"
    )
    import_.add_argument("out", type=Path, metavar="OUT", help="a folder, named right after them")
    import_.add_argument("--plans", type=Path, required=True, help="the plans.json of that training")
    import_.add_argument("--dataset-json", type=Path, required=True, help="the dataset.json of that training")
    import_.set_defaults(run=_import)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.private and not arguments.hub:
        print("nnunet-ext export: --private says how to upload: give --hub USER/NAME too", file=sys.stderr)
        return 2
    return _run("export", lambda: _export_and_upload(arguments))


def _export_and_upload(arguments: argparse.Namespace) -> None:
    from nnunet_ext import _startup
    from nnunet_ext.sharing import export, hub

    _startup.register()  # for a Python that runs no start-up files
    repository = hub.Hub(arguments.hub) if arguments.hub else None  # whoever is not logged in hears it first
    out: Path = arguments.out
    licence, data = arguments.licence, arguments.data_licence
    exported = export.export(arguments.model, out, arguments.folds, arguments.checkpoint, licence, data)
    print(f"Exported: {exported}")
    if licence is None:
        print("The model card states no licence of the model: without one nobody may use it. Give --licence.")
    if repository is None:
        return
    files = hub.files_to_upload(exported, out)
    print(f"As {repository.user}, to {repository.repository}, {'private' if arguments.private else 'public'}:")
    for name, file in files.items():
        print(f"  {hub.size(file) / 1e6:10.2f} MB  {name}")
    print(f"Uploaded: {repository.upload(files, arguments.private)}")


def _import(arguments: argparse.Namespace) -> int:
    def work() -> None:
        from nnunet_ext import _startup
        from nnunet_ext.sharing import fork

        _startup.register()
        made = fork.import_checkpoints(arguments.checkpoints, arguments.plans, arguments.dataset_json, arguments.out)
        print(f"Made: {made}")

    return _run("import-checkpoint", work)


def _run(command: str, work: Callable[[], None]) -> int:
    try:
        with sigterm_interrupts():
            work()
    except KeyboardInterrupt:
        print(f"nnunet-ext {command}: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"nnunet-ext {command}: {error}", file=sys.stderr)
        return 1
    return 0
