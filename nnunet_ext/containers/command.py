"""`nnunet-ext container build` and `nnunet-ext container test`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nnunet_ext.containers.challenges import CHALLENGES
from nnunet_ext.containers.errors import ContainerError, UsageError
from nnunet_ext.interrupt import sigterm_interrupts


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `container` with its two subcommands."""
    container = commands.add_parser("container", help="a trained model as an image for a challenge, and its test")
    subcommands = container.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build = subcommands.add_parser("build", help="an image of a trained model")
    build.add_argument("model", type=Path, metavar="MODEL_FOLDER", help=".../DatasetXXX_Name/TRAINER__PLANS__CONFIG")
    build.add_argument("--target", required=True, choices=list(CHALLENGES), help="the challenge")
    build.add_argument("--folds", nargs="+", metavar="FOLD", help="numbers or all (default: the folds that are there)")
    build.add_argument("--checkpoint", default="checkpoint_final.pth", metavar="NAME", help="default: %(default)s")
    build.add_argument("--disable-tta", action="store_true", help="no mirroring: up to eight times as fast")
    build.add_argument("--step-size", type=float, default=0.5, metavar="S", help="of the window; default: %(default)s")
    build.add_argument("--base", metavar="IMAGE", help="to start from (default: PyTorch's, with CUDA)")
    build.add_argument("--wheels", type=Path, metavar="DIR", help="for pip, which then uses no network")
    build.add_argument("--tag", help="name of the image; FLARE: your team's (default: nnunet-ext-TARGET:latest)")
    build.add_argument("--dry-run", type=Path, metavar="DIR", help="only write what Docker builds from")
    build.add_argument("--save", type=Path, metavar="FILE.tar.gz", help="what is handed in; FLARE: named as the tag")
    own = build.add_argument_group("grand-challenge")
    own.add_argument("--output", metavar="NAME", help="folder of the output below /output/images; needed")
    own.add_argument("--output-ending", choices=[".mha", ".tif"], default=".mha", help="default: %(default)s")
    own.add_argument("--inputs", nargs="+", default=[], metavar="NAME", help="slugs of the images, by channel")
    own.add_argument("--model-tarball", type=Path, metavar="FILE.tar.gz", help="for the model, instead of the image")
    build.set_defaults(run=_build)

    test = subcommands.add_parser("test", help="run an image as its challenge does, and check what it writes")
    test.add_argument("image", metavar="IMAGE")
    test.add_argument("--input", type=Path, required=True, metavar="DIR", help="cases, see docs/containers.md")
    test.add_argument("--output", type=Path, metavar="DIR", help="keep what was written, in a new folder")
    test.add_argument("--target", choices=list(CHALLENGES), help="default: what the image was built for")
    test.add_argument("--labels", nargs="+", type=int, metavar="N", help="that may occur (default: the model's)")
    test.add_argument("--memory", help="that a container may use, as 28g (default: the challenge's)")
    test.add_argument("--timeout", type=float, default=3600, metavar="S", help="per case; default: %(default)s")
    test.add_argument("--cpu", action="store_true", help="without the GPU")
    test.add_argument("--model-tarball", type=Path, metavar="FILE.tar.gz", help="of an image that was built with one")
    test.set_defaults(run=_test)


def _build(arguments: argparse.Namespace) -> int:
    from nnunet_ext.containers import build

    return _guarded("build", build.run, arguments)


def _test(arguments: argparse.Namespace) -> int:
    from nnunet_ext.containers import testing

    return _guarded("test", testing.run, arguments)


def _guarded(name: str, work: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        with sigterm_interrupts():
            return work(arguments)
    except KeyboardInterrupt:
        print(f"nnunet-ext container {name}: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except UsageError as error:
        print(f"nnunet-ext container {name}: {error}", file=sys.stderr)
        return 2
    except (ContainerError, ValueError, OSError) as error:
        print(f"nnunet-ext container {name}: {error}", file=sys.stderr)
        return 1
