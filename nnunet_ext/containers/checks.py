"""Whether a container wrote what its challenge expects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_ext.containers.errors import CaseError
from nnunet_ext.containers.images import read_header

TOLERANCE = 1e-3
"""Of positions in mm, and of directions: NIfTI headers hold four bytes per number."""


def problems(folder: Path, output: str, image: Path, labels: Sequence[int] | None) -> list[str]:
    """What is wrong with the files that a container wrote; empty if nothing is.

    Args:
        folder: the folder that was mounted for outputs.
        output: the path in it of the one file that should be there.
        image: the input whose geometry the output must have.
        labels: the values that are allowed; None for any whole numbers.
    """
    written = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    found = [f"wrote {name}, which nobody asked for" for name in sorted(written - {output})]
    if output not in written:
        return [f"did not write {output}", *found]
    if not (folder / output).is_file() or (folder / output).resolve() != folder.resolve() / output:
        return [*found, f"{output} is no ordinary file"]
    try:
        return found + _of_labels(folder / output, image, labels)
    except Exception as error:  # a damaged file raises whatever its bytes happen to say
        return [*found, f"{output} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"]


def _of_labels(output: Path, image: Path, labels: Sequence[int] | None) -> list[str]:
    values = np.unique(_voxels(output))
    found = _of_geometry(output, image)
    if not np.issubdtype(values.dtype, np.integer):
        found.append(f"holds {values.dtype}, expected whole numbers")
    elif labels is not None and (strange := sorted(set(values.tolist()) - set(labels))):
        found.append(f"holds the labels {', '.join(map(str, strange))}, allowed are {', '.join(map(str, labels))}")
    return found


def _of_geometry(output: Path, image: Path) -> list[str]:
    got, expected = _geometry(output), _geometry(image)
    differences = []
    for name, value in expected.items():
        if len(got[name]) != len(value) or not np.allclose(got[name], value, rtol=0, atol=TOLERANCE):
            differences.append(f"{name} {_text(got[name])} is not the image's {_text(value)}")
    return differences


def _geometry(file: Path) -> dict[str, Any]:
    if file.name.endswith((".nii", ".nii.gz")):
        from nibabel.nifti1 import Nifti1Image

        volume = Nifti1Image.from_filename(file)
        return {"size": volume.shape, "affine": np.ravel(volume.affine[:3])}
    header = read_header(file)
    geometry = {"size": header.GetSize()}
    if file.suffix.lower() == ".mha":  # a .tif keeps no origin and no direction
        geometry |= {"spacing": header.GetSpacing(), "origin": header.GetOrigin(), "direction": header.GetDirection()}
    return geometry


def _voxels(file: Path) -> npt.NDArray[Any]:
    if file.name.endswith((".nii", ".nii.gz")):
        from nibabel.nifti1 import Nifti1Image

        return np.asanyarray(Nifti1Image.from_filename(file).dataobj)
    import SimpleITK

    try:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    except RuntimeError as error:
        raise CaseError(str(error).strip().rpartition("\n")[2]) from error


def _text(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
