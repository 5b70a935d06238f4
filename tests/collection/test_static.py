import json
from pathlib import Path

import pytest

from spaceeye_stac.collection.staging import staged_folder
from spaceeye_stac.errors import OutputError


def a_run(folder: Path) -> None:
    (folder / "c_2020-01-01").mkdir(parents=True)
    links = [{"rel": "item", "href": "./c_2020-01-01/c_2020-01-01.json"}]
    (folder / "collection.json").write_text(json.dumps({"links": links, "summaries": {"spaceeye:method": ["damped"]}}))


def test_the_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with staged_folder(out, overwrite=False) as work:
        (work / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "other", overwrite=False):
        raise ZeroDivisionError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]


def test_strangers_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds 'thesis\.txt'"), staged_folder(tmp_path, overwrite=True):
        pass
    a_run(tmp_path / "run")
    (tmp_path / "run" / "notes.md").write_text("x")
    with pytest.raises(OutputError, match=r"holds 'notes\.md'"), staged_folder(tmp_path / "run", overwrite=True):
        pass
    assert (tmp_path / "run" / "notes.md").is_file()


def test_another_run_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "run"
    a_run(out)
    with pytest.raises(OutputError, match="already holds a run"), staged_folder(out, overwrite=False):
        pass
    with staged_folder(out, overwrite=True) as work:
        (work / "new").write_text("")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_file_or_an_impossible_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"), staged_folder(tmp_path / "file", overwrite=True):
        pass
    with pytest.raises(OutputError, match="cannot be made"), staged_folder(tmp_path / "file" / "out", overwrite=False):
        pass
