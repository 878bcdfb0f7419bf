import io
import subprocess
import tarfile
import zipfile

import pytest

from training.data.archives import UnsafeArchive, unpack


def write_wheel(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return path


def write_tarball(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            content = f"content of {member.name}".encode() if member.isfile() else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_a_wheel_is_unpacked(tmp_path, folder):
    unpack(write_wheel(tmp_path / "a.whl", ["package/data/x.json"]), folder)
    assert (folder / "package/data/x.json").read_text() == "content of package/data/x.json"


def test_a_tarball_is_unpacked(tmp_path, folder):
    unpack(write_tarball(tmp_path / "a.tgz", [tarfile.TarInfo("package/x.bin")]), folder)
    assert (folder / "package/x.bin").read_text() == "content of package/x.bin"


def test_a_debian_package_is_unpacked(tmp_path, folder):
    source = tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    )
    (source / "usr/share").mkdir(parents=True)
    (source / "usr/share/x.svg").write_text("<svg/>")
    subprocess.run(["dpkg-deb", "--build", source, tmp_path / "x.deb"], check=True, capture_output=True)
    unpack(tmp_path / "x.deb", folder)
    assert (folder / "usr/share/x.svg").read_text() == "<svg/>"


@pytest.mark.parametrize("name", ["../outside", "package/../../outside", "/tmp/outside-of-labelset-test"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, folder, name):
    wheel = write_wheel(tmp_path / "a.whl", [name])
    tarball = write_tarball(tmp_path / "a.tgz", [tarfile.TarInfo(name)])
    for archive in (wheel, tarball):
        with pytest.raises(UnsafeArchive, match="outside"):
            unpack(archive, folder)
    assert not (folder / name).exists()


def test_links_are_left_out(tmp_path, folder):
    link = tarfile.TarInfo("package/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    unpack(write_tarball(tmp_path / "a.tgz", [link, tarfile.TarInfo("package/file")]), folder)
    assert [path.name for path in (folder / "package").iterdir()] == ["file"]


def test_a_program_stays_executable(tmp_path, folder):
    program = tarfile.TarInfo("bin/node")
    program.mode = 0o755
    unpack(write_tarball(tmp_path / "a.tgz", [program, tarfile.TarInfo("bin/readme")]), folder)
    assert (folder / "bin/node").stat().st_mode & 0o111
    assert not (folder / "bin/readme").stat().st_mode & 0o111


def test_another_ending_is_refused(tmp_path, folder):
    (tmp_path / "a.rar").touch()
    with pytest.raises(ValueError, match=r"a\.rar"):
        unpack(tmp_path / "a.rar", folder)
