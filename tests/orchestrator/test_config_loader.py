"""The loader of configs: many compositions in one process are each what a first one would be."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf
from yaml.scanner import Scanner

from orchestrator import config, config_loader

MINE = "hydra.searchpath=[file://{}]"


def written(folder: Path, alpha: float) -> None:
    (folder / "experiment").mkdir(exist_ok=True)
    text = f"# @package _global_\ndefaults: [tiny_math]\nrejuvenate: {{alpha: {alpha}}}\n"
    (folder / "experiment" / "mine.yaml").write_text(text)


def test_the_files_of_packages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = config.compose(["+experiment=tiny_math"])

    def load(file: object) -> None:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(OmegaConf, "load", load)
    assert config.compose(["+experiment=tiny_math"]) == first
    assert config.compose(["+experiment=tiny_math", "seed=7"]).config["sft"]["seed"] == 7


@pytest.mark.parametrize("arguments", [["+experiment=tiny_math"], ["+experiment=evolm_math", "cluster=slurm"]])
def test_what_is_kept_is_what_hydra_composes(arguments: list[str]) -> None:
    with hydra.initialize_config_module("conf", version_base="1.3"):
        plain = hydra.compose("config", arguments, return_hydra_config=True)
    with config_loader.initialized():
        hydra.compose("config", arguments)
        kept = hydra.compose("config", arguments, return_hydra_config=True)
    assert OmegaConf.to_yaml(kept) == OmegaConf.to_yaml(plain)
    assert OmegaConf.is_struct(kept) and OmegaConf.is_struct(plain)


def test_a_composition_that_is_changed_changes_no_other() -> None:
    with config_loader.initialized():
        hydra.compose("config", ["+experiment=tiny_math"]).rejuvenate.alpha = 0.125
        assert hydra.compose("config", ["+experiment=tiny_math"]).rejuvenate.alpha != 0.125


def test_a_file_of_the_user_s_own_is_read_each_time(tmp_path: Path) -> None:
    for alpha in (0.25, 0.75):
        written(tmp_path, alpha)
        found = config.compose([MINE.format(tmp_path), "+experiment=mine"])
        assert found.config["rejuvenate"]["alpha"] == alpha


def test_hydra_reads_them_with_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_more_tokens(loader: object) -> None:
        raise AssertionError("PyYAML's own scanner reads this")

    pytest.importorskip("yaml.cyaml")
    monkeypatch.setattr(Scanner, "fetch_more_tokens", fetch_more_tokens)
    written(tmp_path, 0.5)
    with config_loader.initialized():
        assert hydra.compose("config", [MINE.format(tmp_path), "+experiment=mine"]).rejuvenate.alpha == 0.5
