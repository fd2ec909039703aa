"""Seeds by looks in a study file: what is read, what is refused in a line."""

import re
from pathlib import Path

import pytest

from orchestrator.launch.look_forecast import look_lines
from orchestrator.plan.comparison import registered_looks
from orchestrator.store.looks import Looks
from orchestrator.studyfile import ConfigError, load

ROOT = Path(__file__).parents[3]
FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 3, batch_size: 8}
suppression: {}
"""
ARMS = "ablation: {design: arms, arms: [plain, full]}\n"


def read(folder: Path, text: str, *overrides: str) -> tuple[Looks | None, int]:
    path = folder / "s.yaml"
    path.write_text(text)
    section = load(path, overrides, env={}).spec.ablation
    assert section is not None
    return registered_looks(section.seeds), len(section.read_arms())


def mistake(folder: Path, seeds: str, text: str = FILE + ARMS) -> str:
    with pytest.raises(ConfigError) as error:
        read(folder, text, f"ablation.seeds={seeds}")
    return re.sub(r"^--set .*?: (?=ablation)", "", str(error.value))


def test_the_example_of_the_guide_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs/looks.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    looks, arms = read(tmp_path, FILE + example[1])
    assert looks == Looks((6, 8, 12, 16), "obrien_fleming", 0.1, 0.05)
    assert arms == 4
    said = list(look_lines(looks, arms - 1))
    for line in said[:2]:
        assert line in page


def test_confirm_takes_them_too(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        FILE + "search: {sampler: random, trials: 1}\nconfirm: {seeds: {looks: [6, 9], spending: pocock}}\n"
    )
    confirm = load(path, (), env={}).spec.confirm
    assert confirm is not None
    assert registered_looks(confirm.seeds) == Looks((6, 9), "pocock", 0.1, 0.05)


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        ("{looks: [8, 6]}", "ablation.seeds.looks: must increase, got 6 after 8"),
        ("{looks: [6, 6]}", "ablation.seeds.looks: must increase, got 6 after 6"),
        (
            "{looks: [4, 8]}",
            "ablation.seeds.looks: the first look can show nothing: no p below 0.125 is possible with 4 seeds; "
            "begin with 6 or more",
        ),
        ("{looks: [6, true]}", "ablation.seeds.looks[1]: expected a whole number, got true"),
        ("{looks: [6, 7.5]}", "ablation.seeds.looks[1]: expected a whole number, got 7.5"),
        ("{looks: [6, 2000]}", "ablation.seeds.looks[1]: must be <= 1000, got 2000"),
        ("{looks: [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]}", "ablation.seeds.looks: 13 looks; at most 12"),
        ("{looks: []}", "ablation.seeds.looks: expected at least 1 value, got 0"),
        ("{looks: 6}", "ablation.seeds.looks: expected a list, got 6"),
        ("{}", "ablation.seeds.looks: missing"),
        ('"6"', "ablation.seeds: expected a whole number, got '6'; seeds in steps are {looks: [6, 8]}"),
        ("[6, 9]", "ablation.seeds: expected a whole number, got a list; seeds in steps are {looks: [6, 9]}"),
        ("true", "ablation.seeds: expected a whole number, got true"),
        (
            "{looks: [6], spending: pocok}",
            "ablation.seeds.spending: unknown 'pocok'; one of pocock, obrien_fleming (did you mean 'pocock'?)",
        ),
        ("{looks: [6], futility: 0.9}", "ablation.seeds.futility: must be <= 0.5, got 0.9"),
        (
            "{looks: [6], lok: 1}",
            "ablation.seeds.lok: unknown key 'lok'; one of looks, spending, futility (did you mean 'looks'?)",
        ),
    ],
)
def test_a_mistake_is_a_line(tmp_path: Path, seeds: str, line: str) -> None:
    assert mistake(tmp_path, seeds) == line


def test_a_path_takes_no_looks(tmp_path: Path) -> None:
    path = """
ablation:
  design: {name: path, target: {suppression.alpha: 3}}
  factors: {suppression.alpha: [10, 3]}
"""
    line = "ablation.seeds: looks do not go with a path, whose arms follow from the results; write a number"
    assert mistake(tmp_path, "{looks: [6, 8]}", FILE + path) == line


def test_too_many_runs_count_the_last_look(tmp_path: Path) -> None:
    factors = (
        "ablation: {design: one_at_a_time, factors: {suppression.alpha: ["
        + ", ".join(map(str, range(1, 150)))
        + "]}}\n"
    )
    assert "are 150000 runs; at most 100000" in mistake(tmp_path, "{looks: [6, 1000]}", FILE + factors)


def test_the_forecast_names_looks_at_which_none_can_be_shown() -> None:
    lines = list(look_lines(Looks((6, 8, 12, 16), "pocock", None, 0.05), 1))
    assert lines[0] == "after 6, 8, 12 and 16 seeds (pocock, none stops for futility); at most 32 runs"
    assert lines[1] == "after 6 seeds an arm can stop for futility only: no p is small enough there"
    assert re.fullmatch(r"expected: \d+ runs if no arm differs, \d+ if it differs by 0\.\d .*", lines[2])
    hopeless = list(look_lines(Looks((6, 7), "pocock", 0.1, 0.05), 40))
    assert hopeless[-1].startswith("expected: ")
    assert "if each differs" not in hopeless[-1], "no effect can be shown"
