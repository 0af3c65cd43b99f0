"""A directory that appears complete or not at all, whatever happens while it is being made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tanager_export.atomic import TargetError, fresh_directory

MARKER = "marker.json"


def make(target: Path, content: str = "new", *, overwrite: bool = False) -> None:
    with fresh_directory(target, marker=MARKER, overwrite=overwrite) as directory:
        (directory / MARKER).write_text("{}")
        (directory / "below").mkdir()
        (directory / "below" / "content").write_text(content)


def tree(directory: Path) -> dict[str, str | None]:
    """Everything below a directory, hidden leftovers included: files with their content, directories with None."""
    return {
        path.relative_to(directory).as_posix(): path.read_text() if path.is_file() else None
        for path in directory.rglob("*")
    }


def made(name: str, content: str = "new") -> dict[str, str | None]:
    return {name: None, f"{name}/{MARKER}": "{}", f"{name}/below": None, f"{name}/below/content": content}


def test_what_is_written_takes_the_place_of_the_target(tmp_path):
    make(tmp_path / "target")
    assert tree(tmp_path) == made("target")


def test_until_it_is_complete_there_is_no_target(tmp_path):
    with fresh_directory(tmp_path / "target", marker=MARKER) as directory:
        (directory / MARKER).write_text("{}")
        assert not (tmp_path / "target").exists()
        assert directory.parent == tmp_path  # taking the place is a rename, so never across file systems
    assert (tmp_path / "target" / MARKER).read_text() == "{}"


def test_missing_parents_are_made(tmp_path):
    make(tmp_path / "a" / "b" / "target")
    assert tree(tmp_path / "a" / "b") == made("target")


def test_a_name_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(Path("target"))
    assert tree(tmp_path) == made("target")


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "target").mkdir()
    make(tmp_path / "target")
    assert tree(tmp_path) == made("target")


def test_a_link_stays_and_what_it_points_to_is_made(tmp_path):
    (tmp_path / "link").symlink_to("place")
    make(tmp_path / "link")
    assert (tmp_path / "link").readlink() == Path("place")
    assert (tmp_path / "place" / "below" / "content").read_text() == "new"


class TestWhenItBreaksOff:
    @pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
    def test_nothing_is_left_not_even_parents_and_the_error_is_passed_on(self, tmp_path, error):
        def breaks_off():
            with fresh_directory(tmp_path / "a" / "b" / "target", marker=MARKER) as directory:
                (directory / "half").write_text("half")
                raise error

        with pytest.raises(type(error)) as raised:
            breaks_off()
        assert raised.value is error
        assert tree(tmp_path) == {}

    def test_parents_that_were_there_stay(self, tmp_path):
        (tmp_path / "mine").mkdir()
        with pytest.raises(ValueError, match="bad"), fresh_directory(tmp_path / "mine" / "target", marker=MARKER):
            raise ValueError("bad")
        assert tree(tmp_path) == {"mine": None}

    def test_the_previous_one_stays(self, tmp_path):
        make(tmp_path / "target", "old")
        with (
            pytest.raises(ValueError, match="bad"),
            fresh_directory(tmp_path / "target", marker=MARKER, overwrite=True),
        ):
            raise ValueError("bad")
        assert tree(tmp_path) == made("target", "old")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(5, "Input/output error")])
    def test_the_previous_one_is_put_back_when_the_exchange_breaks_off(self, tmp_path, monkeypatch, error):
        make(tmp_path / "target", "old")
        rename = Path.rename

        def fails_for_the_new(source, destination):
            if source.name.endswith(".new"):
                raise error
            return rename(source, destination)

        monkeypatch.setattr(Path, "rename", fails_for_the_new)
        with pytest.raises((KeyboardInterrupt, TargetError)):
            make(tmp_path / "target", overwrite=True)
        assert tree(tmp_path) == made("target", "old")


class TestWhatIsThereAlready:
    def test_is_not_replaced_unasked(self, tmp_path):
        make(tmp_path / "target", "old")
        with pytest.raises(TargetError, match=r"target: is there already; choose another name, or --overwrite"):
            make(tmp_path / "target")
        assert tree(tmp_path) == made("target", "old")

    def test_is_replaced_as_a_whole_when_asked(self, tmp_path):
        make(tmp_path / "target", "old")
        (tmp_path / "target" / "stale").write_text("from an older version")
        make(tmp_path / "target", overwrite=True)
        assert tree(tmp_path) == made("target")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_directory_of_another_kind_is_never_replaced(self, tmp_path, overwrite):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter").write_text("years of work")
        with pytest.raises(TargetError, match="thesis"):
            make(tmp_path / "thesis", overwrite=overwrite)
        assert tree(tmp_path) == {"thesis": None, "thesis/chapter": "years of work"}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_is_never_replaced(self, tmp_path, overwrite):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(TargetError, match=r"file: is there already and is no directory"):
            make(tmp_path / "file", overwrite=overwrite)
        assert tree(tmp_path) == {"file": "mine"}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_whoever_came_first_meanwhile_is_not_replaced_unasked(self, tmp_path, overwrite):
        def both_at_once():
            with fresh_directory(tmp_path / "target", marker=MARKER, overwrite=overwrite) as directory:
                (directory / MARKER).write_text("second")
                make(tmp_path / "target", "first")

        if overwrite:
            both_at_once()
            assert tree(tmp_path) == {"target": None, f"target/{MARKER}": "second"}
        else:
            with pytest.raises(TargetError, match="is there already"):
                both_at_once()
            assert tree(tmp_path) == made("target", "first")

    def test_a_mount_point_is_refused_before_any_work(self, tmp_path, monkeypatch):
        (tmp_path / "volume").mkdir()
        monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
        with pytest.raises(TargetError, match="volume: is a mount point"):
            make(tmp_path / "volume")
        make(tmp_path / "volume" / "below")

    def test_a_link_to_itself_is_refused(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(TargetError, match="loop: is there already and is no directory"):
            make(tmp_path / "loop")


class TestPlacesThatCannotBeWritten:
    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        target = tmp_path / "file" / "below" / "target"
        with pytest.raises(TargetError) as raised:
            make(target)
        assert str(raised.value) == f"{target}: cannot be written: Not a directory"
        assert tree(tmp_path) == {"file": "mine"}

    def test_a_name_that_is_too_long(self, tmp_path):
        with pytest.raises(TargetError, match="cannot be written: File name too long"):
            make(tmp_path / ("x" * 300))
        assert tree(tmp_path) == {}

    def test_a_disk_that_fails_when_all_is_to_be_made_durable(self, tmp_path, monkeypatch):
        def fails(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(TargetError, match="cannot be written: No space left on device"):
            make(tmp_path / "target")
        assert tree(tmp_path) == {}
