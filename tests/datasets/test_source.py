"""Archives and folders are read alike, and nothing leaves them."""

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from nnunet_ext.datasets.errors import ConvertError
from nnunet_ext.datasets.source import Source
from nnunet_ext.datasets.word import WORD

PATTERN = r"img/(?P<id>a\d)\.txt"
CONTENT = {"data/img/a1.txt": b"one", "data/img/a2.txt": b"two"}


def as_folder(path: Path) -> Path:
    for name, content in CONTENT.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / "data/img/._a1.txt").write_bytes(b"resource fork")
    return path


def as_zip(path: Path) -> Path:
    path.mkdir()
    with zipfile.ZipFile(path / "data.zip", "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
        archive.writestr("__MACOSX/data/img/a1.txt", b"resource fork")
    return path / "data.zip"


def as_folder_of_zip(path: Path) -> Path:
    return as_zip(path).parent


def as_tar(path: Path) -> Path:
    path.mkdir()
    with tarfile.open(path / "data.tar.gz", "w:gz") as archive:
        for name, content in CONTENT.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path / "data.tar.gz"


@pytest.mark.parametrize("make", [as_folder, as_zip, as_folder_of_zip, as_tar])
def test_files_are_found_by_the_end_of_their_path(make, tmp_path: Path) -> None:
    found = Source(make(tmp_path / "source"), tmp_path / "unpacked").find(PATTERN)
    assert {name: file.read() for name, file in found.items()} == {"a1": b"one", "a2": b"two"}
    found["a2"].copy_to(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"two"


def test_an_unpacked_file_counts_before_its_archive(tmp_path: Path) -> None:
    as_zip(tmp_path / "source")
    as_folder(tmp_path / "source")
    (tmp_path / "source/data/img/a2.txt").unlink()
    found = Source(tmp_path / "source", tmp_path / "unpacked").find(PATTERN)
    assert {name: file.member for name, file in found.items()} == {"a1": None, "a2": "data/img/a2.txt"}


def test_two_copies_are_refused(tmp_path: Path) -> None:
    as_folder(tmp_path / "source/one")
    as_folder(tmp_path / "source/two")
    with pytest.raises(ConvertError, match=r"holds a1 twice, as one/data/img/a1\.txt and as two/data/img/a1\.txt"):
        Source(tmp_path / "source", tmp_path / "unpacked").find(PATTERN)


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    source = as_folder(tmp_path / "source")
    (source / "data/again").symlink_to(source)
    assert len(Source(source, tmp_path / "unpacked").find(PATTERN)) == 2


@pytest.mark.parametrize("name", ["../a1.txt", "/etc/a1.txt", "data/../../a1.txt", "C:\\a1.txt", "..\\a1.txt"])
def test_zip_members_outside_are_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ConvertError, match=r"bad\.zip is refused"):
        Source(tmp_path / "bad.zip", tmp_path / "unpacked")


@pytest.mark.parametrize("kind", ["path", "link"])
def test_tar_members_outside_are_refused(kind: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        member = tarfile.TarInfo("../a1.txt" if kind == "path" else "a1.txt")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../../secret"
        archive.addfile(member)
    with pytest.raises(ConvertError, match=r"bad\.tar is refused"):
        Source(tmp_path / "bad.tar", tmp_path / "unpacked" / "here")
    assert not list(tmp_path.rglob("a1.txt"))


@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_half_an_archive(make, tmp_path: Path) -> None:
    archive = make(tmp_path / "source")
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(ConvertError, match="was it downloaded whole"):
        Source(archive, tmp_path / "unpacked")


def encrypted(data: bytes, password: bytes) -> bytes:
    """PKWARE's old encryption, which every zip program knows and Python can only read."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = ~zlib.crc32(bytes([byte]), ~keys[0] & 0xFFFFFFFF) & 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = ~zlib.crc32(bytes([keys[1] >> 24]), ~keys[2] & 0xFFFFFFFF) & 0xFFFFFFFF

    def encrypt(byte: int) -> int:
        key = (keys[2] | 2) & 0xFFFF
        update(byte)
        return byte ^ ((key * (key ^ 1) >> 8) & 0xFF)

    for byte in password:
        update(byte)
    check = zlib.crc32(data) >> 24
    return bytes(encrypt(byte) for byte in bytes(11) + bytes([check]) + data)


def test_an_encrypted_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "WORD.zip", "w") as archive:
        archive.writestr("img/a1.txt", encrypted(b"secret", b"word@uestc"))
        (member,) = archive.infolist()  # what the archive's directory, written at the end, says of it
        member.flag_bits, member.CRC, member.file_size = 1, zlib.crc32(b"secret"), len(b"secret")
    found = Source(tmp_path / "WORD.zip", tmp_path, WORD.password).find(PATTERN)
    assert found["a1"].read() == b"secret"
    with pytest.raises(RuntimeError, match="password"):
        Source(tmp_path / "WORD.zip", tmp_path).find(PATTERN)["a1"].read()


def test_the_other_encryption(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "aes.zip", "w") as archive:
        archive.writestr("img/a1.txt", b"x")
        archive.infolist()[0].compress_type = 99
    with pytest.raises(ConvertError, match="encrypted with AES"):
        Source(tmp_path / "aes.zip", tmp_path)


@pytest.mark.parametrize(
    ("name", "words"), [("gone", "is not there"), ("x.rar", "unpack it and give the folder"), ("x.txt", "neither")]
)
def test_what_is_no_source(name: str, words: str, tmp_path: Path) -> None:
    if name != "gone":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConvertError, match=words):
        Source(tmp_path / name, tmp_path / "unpacked")
