"""What was recorded as saved has to be found again."""

from pathlib import Path

from stages.saved import Saved


def test_a_start_that_finds_less_than_was_recorded_is_told_so(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    assert saved.step is None and saved.lost(None) is None
    saved.record(40)
    assert saved.step == 40
    assert saved.lost(40) is None and saved.lost(60) is None
    assert str(saved.lost(None)).startswith("a checkpoint of step 40 was recorded, but none is there now; remove")
    assert "the last one that is there now is of step 20" in str(saved.lost(20))
