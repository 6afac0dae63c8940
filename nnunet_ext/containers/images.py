"""Images of grand-challenge.org for the readers of nnU-Net, and labels in the geometry of an image.

A reader decides how axes are ordered and turned; a network works only with the reader that it was trained with. So an
image is handed to that reader in a kind of file that it reads, and the labels come back through it.
"""

import tempfile
from pathlib import Path
from typing import Any

import SimpleITK

from nnunet_ext.containers.errors import CaseError

READ_AS_THEY_ARE = {".mha": (".mha", ".tif", ".tiff"), ".nii": (), ".tif": (".tif", ".tiff")}
"""Of the platform's images, what readers of .mha (SimpleITK's), .nii (nibabel's) and .tif (photographs) read directly.

The keys are kinds of files that SimpleITK writes for them, too.
"""


def ending_of(reader: Any) -> str:
    """The ending of files that SimpleITK and a reader, or its class, both read and write.

    Raises:
        CaseError: if there is none.
    """
    for ending in READ_AS_THEY_ARE:
        if ending in reader.supported_file_endings:
            return ending
    raise CaseError(f"nnU-Net reads none of {', '.join(READ_AS_THEY_ARE)} for this model")


def as_read_by(reader: Any, image: Path, folder: Path) -> list[Path]:
    """Files with the content of `image` that `reader` reads: the image itself, or new ones in `folder`.

    A reader of photographs gets all colours in one file, any other reader one file per component of the voxels.

    Raises:
        CaseError: if the image cannot be read or not be given to that reader.
    """
    ending = ending_of(reader)
    is_photograph = ending == ".tif"
    n_components = read_header(image).GetNumberOfComponents()
    if image.suffix.lower() in READ_AS_THEY_ARE[ending] and (is_photograph or n_components == 1):
        return [image]
    content = _read(image)
    if is_photograph:
        parts = [_without_depth(content, image)]
    elif n_components == 1:
        parts = [content]
    else:
        parts = [SimpleITK.VectorIndexSelectionCast(content, component) for component in range(n_components)]
    own = Path(tempfile.mkdtemp(dir=folder))
    files = [own / f"image_{channel:04d}{ending}" for channel in range(len(parts))]
    for part, file in zip(parts, files, strict=True):
        SimpleITK.WriteImage(part, str(file))
    return files


def write_like(image: Path, labels: Path, target: Path) -> None:
    """Write `labels`, as nnU-Net's reader wrote them, to `target` with the geometry of `image`, compressed.

    Raises:
        CaseError: if they have another size.
    """
    header = read_header(image)
    size = header.GetSize()
    content = _read(labels)
    if content.GetDimension() == 2 and len(size) == 3 and size[2] == 1:
        content = SimpleITK.JoinSeries(content)
    if content.GetSize() != size:
        raise CaseError(f"the labels have {content.GetSize()} voxels, the image {size}")
    for key in content.GetMetaDataKeys():  # of another kind of file: ITK warns of each that it cannot write
        content.EraseMetaData(key)
    content.SetSpacing(header.GetSpacing())
    content.SetOrigin(header.GetOrigin())
    content.SetDirection(header.GetDirection())
    SimpleITK.WriteImage(content, str(target), useCompression=True)


def read_header(image: Path) -> SimpleITK.ImageFileReader:
    """Size, spacing, origin and direction of an image, without its voxels.

    Raises:
        CaseError: if it cannot be read.
    """
    header = SimpleITK.ImageFileReader()
    header.SetFileName(str(image))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        raise CaseError(f"{image.name} cannot be read: {_of_itk(error)}") from error
    return header


def _read(image: Path) -> SimpleITK.Image:
    try:
        return SimpleITK.ReadImage(str(image))
    except RuntimeError as error:
        raise CaseError(f"{image.name} cannot be read: {_of_itk(error)}") from error


def _without_depth(content: SimpleITK.Image, image: Path) -> SimpleITK.Image:
    if content.GetDimension() == 2:
        return content
    if content.GetDimension() == 3 and content.GetSize()[2] == 1:
        return content[:, :, 0]
    raise CaseError(f"{image.name} has {content.GetSize()} voxels, and the model was trained on photographs")


def _of_itk(error: RuntimeError) -> str:
    """The last line of ITK's message, which says what; the lines before say where in its source."""
    return str(error).strip().rpartition("\n")[2].strip()
