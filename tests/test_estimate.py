"""The estimate: its sums can be checked by hand, nothing is counted twice, and assumed figures are marked as
assumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline import cli, config, datasets, methods
from pipeline.acquire import sources
from pipeline.cost import planned, rates
from pipeline.cost.estimate import Quantity, additional_costs, estimate, without_peers
from pipeline.cost.text import HOW_KNOWN, text
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.methods.contract import Inputs

ROOT = Path(__file__).resolve().parents[1]
TVSUM_HOURS = 2.44 + 1.04
TVSUM = {
    "dataset": "tvsum",
    "source": "raw",
    "features": {"video": ["i3d-inception-rgb-tvsum"], "audio": ["pann-cnn14"], "text": "clip-text"},
}
RELEASED_TVSUM = {
    **TVSUM,
    "source": "features",
    "archive": "umt-tvsum-features",
    "features": {"video": ["i3d-inception-rgb-tvsum"], "audio": ["pann-cnn14"], "text": "clip-token-table"},
}


def small(**experiments):
    return {
        "datasets": {
            "tvsum": {"annotations": {"train": "tvsum-train", "val": "tvsum-val"}, "videos": ["tvsum-videos"]},
        },
        "training": {"tvsum": {"epochs": 10, "batch_size": 4, "max_clips": None}},
        "seeds": [2017],
        "experiments": experiments,
    }


def costs(**experiments):
    """Return every line by its label."""
    return flat(estimate(config.load(small(**experiments)), sources.load()).costs)


def flat(lines):
    found: dict[str, Quantity] = {}
    for line in lines:
        found |= {line.label: line} | {f"{line.label}: {part.label}": part for part in line.parts}
    return found


def test_a_small_config_costs_what_a_hand_computes():
    found = costs(one=TVSUM)
    rows = TVSUM_HOURS * 3600 / 2
    cpu = "encoding on a CPU, core hours"
    assert found[f"{cpu}: i3d-inception-rgb-tvsum"].total == pytest.approx(rows * 2.0 / 3600)
    assert found[f"{cpu}: words"].total == pytest.approx(50 * 0.034 / 3600)
    small_videos, _ = zip(rates.DECODING["native"], rates.DECODING["sound"], strict=True)
    assert found["decoding 340×256 videos, core hours"].total == pytest.approx(TVSUM_HOURS * sum(small_videos))
    # Ten domains of four videos: a step of four samples an epoch, ten epochs.
    assert found["training on a GPU, hours"].total == pytest.approx(100 * rates.STEP_GPU_S / 3600)
    clips = 4 * datasets.get("tvsum").padded_s / 2
    step = rates.STEP_CPU_S + clips * rates.CLIP_CPU_S
    assert found["training on a CPU, core hours"].total == pytest.approx(100 * step / 3600)
    features = 2 * (rows * (1024 + 2048) + 50 * rates.TOKENS * 512)
    assert found["on disk in the end, GB: features"].total == pytest.approx(features / 1e9)


def test_every_block_is_the_sum_of_its_parts():
    for block in estimate(config.load(shipped()), sources.load()).costs:
        if block.parts:
            assert block.total == pytest.approx(sum(part.total for part in block.parts))


def test_what_experiments_share_is_fetched_decoded_and_encoded_once():
    once, twice = costs(one=TVSUM), costs(one=TVSUM, two=TVSUM)
    per_run = {"training on a CPU, core hours", "training on a GPU, hours", "on disk in the end, GB: runs"}
    differ = {label for label in once if twice[label].total != pytest.approx(once[label].total)}
    assert differ == per_run | {"on disk in the end, GB"}
    for label in per_run:
        assert twice[label].total == pytest.approx(2 * once[label].total)


def test_released_features_need_their_archive_and_no_video():
    found = costs(one=RELEASED_TVSUM)
    assert found["to fetch, GB: small files"].total == pytest.approx((69.1e6 + 455_424 + 193_627) / 1e9)
    assert found["to fetch, GB: weights"].total == 0
    assert "to fetch, GB: tvsum-videos" not in found
    assert found["decoding 1280×720 videos, core hours"].total == found["encoding on a CPU, core hours"].total == 0


def test_sizes_are_exact_reported_or_assumed_and_say_so():
    lines = flat(estimate(config.load(shipped()), sources.load()).costs)
    assert lines["to fetch, GB: qvhighlights-videos"].known == "reported"
    assert lines["to fetch, GB: umt-charades-features"].known == "assumed"


def test_no_figure_of_a_gpu_passes_for_measured():
    lines = flat(estimate(config.load(shipped()), sources.load()).costs)
    of_gpu = {line.known for label, line in lines.items() if "GPU" in label and not line.parts}
    assert of_gpu == {"assumed", "reported, assumed"}


def test_the_page_says_that_more_frequent_evaluations_take_longer_than_it_counts():
    raw = shipped()
    often = {name: raw["experiments"][name] | {"training": {"evaluate_every": 1}} for name in ["qvhighlights_v"]}
    usual = {name: raw["experiments"][name] for name in often}
    costs = [estimate(config.load(raw | {"experiments": e, "peers": []}), sources.load()).costs for e in (often, usual)]
    assert costs[0] == costs[1]
    assert "With `evaluate_every: 1` or smaller batches they take longer." in HOW_KNOWN


def test_a_file_whose_size_nobody_states_is_named():
    found = estimate(config.load(small(one=TVSUM)), sources.load())
    assert found.unsized == ["i3d-inception-rgb-kinetics"]
    assert "Not counted, because the size is unknown: i3d-inception-rgb-kinetics" in text(found, "c.yaml", "")


def test_annotations_that_nobody_released_are_named_instead_of_estimated():
    raw = small(one=TVSUM)
    raw["datasets"]["tvsum"]["annotations"]["val"] = "clip-vit-b32"
    found = estimate(config.load(raw), sources.load())
    assert found.unknown == ["tvsum"]
    page = text(found, "c.yaml", "")
    assert "the annotations are not the released files: tvsum" in page
    assert "GB" not in page


def test_runs_without_a_training_split_are_refused():
    raw = small(one=TVSUM)
    del raw["datasets"]["tvsum"]["annotations"]["train"]
    with pytest.raises(PipelineError, match=r"datasets\.tvsum\.annotations: no `train`"):
        estimate(config.load(raw), sources.load())


def test_released_predictions_need_their_files_and_train_nothing():
    evidence = {"dataset": "qvhighlights", "source": "predictions", "predictions": {"val": "tr-detr-predictions-val"}}
    raw = small(one=evidence)
    raw["datasets"]["qvhighlights"] = {"annotations": {"val": "qvhighlights-val"}, "videos": ["qvhighlights-videos"]}
    lines = flat(estimate(config.load(raw), sources.load()).costs)
    assert lines["to fetch, GB"].total == pytest.approx((2_260_024 + 821_101) / 1e9)
    assert lines["training on a GPU, hours"].total == 0


def test_every_family_and_reader_has_a_rate():
    made = {family for family, kind in FAMILIES.items() if kind.reader}
    assert {family for family in made if FAMILIES[family].cost} == made
    assert set(rates.DECODING) == {FAMILIES[family].reader for family in made} - {"words"}


def test_the_command_prints_a_page_for_the_shipped_config(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(planned, "find_spec", lambda _: None)
    cli.main(["estimate"])
    page = capsys.readouterr().out
    assert "Jobs: not counted (no Snakemake here)." in page
    assert max(map(len, page.splitlines())) <= 120


def test_what_the_peers_add_and_the_rest_make_the_whole():
    cfg, table = config.load(shipped()), sources.load()
    whole, base = flat(estimate(cfg, table).costs), flat(estimate(without_peers(cfg), table).costs)
    more = flat(additional_costs(estimate(cfg, table), estimate(without_peers(cfg), table)).costs)
    assert set(more) <= set(whole)
    for label, line in whole.items():
        before, after = base.get(label, Quantity(label)), more.get(label, Quantity(label))
        assert before.total + after.total == pytest.approx(line.total)
    assert not {line for line in more if line.startswith("to fetch, GB: charades")}
    assert more["to fetch, GB: moment-detr-qvhighlights-features"].total == pytest.approx(9.34)


def test_the_command_tells_the_costs_of_all_seeds_of_one_seed_and_of_the_peers(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(planned, "find_spec", lambda _: None)
    cli.main(["estimate"])
    cfg = config.load(shipped())
    added = f"What `snakemake peers` adds: {len(cfg.peers)} experiments under `peers`"
    rest, _, peers = capsys.readouterr().out.partition(added)
    base, _, quick = rest.partition("The quick pass, `--config 'seeds=[2017]'`, costs the same but for:")
    runs = [int(line.split()[-1]) for part in (base, quick, peers) for line in part.splitlines() if line[:4] == "runs"]
    hours = [float(line.split()[6]) for line in rest.splitlines() if line.startswith("training on a GPU")]
    of_peers = sum(len(e.runs) for n, e in cfg.experiments.items() if n in cfg.peers and e.source != "predictions")
    assert runs == [3 * 66, 66, of_peers]
    assert hours[0] == pytest.approx(3 * hours[1], rel=0.02)
    assert "to fetch" not in quick


def test_a_config_of_one_seed_has_no_quick_pass(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small(one=TVSUM)))
    cli.main(["estimate", "--configfile", str(path)])
    assert "quick pass" not in capsys.readouterr().out


def test_the_command_takes_changes_of_the_config_as_snakemake_does(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small(one=TVSUM)))
    for seeds, n in (("[5]", 10), ("[5, 6]", 20)):
        cli.main(["estimate", "--config", f"seeds={seeds}", "--configfile", str(path)])
        said = capsys.readouterr().out
        runs = [line.split()[-1] for line in said.splitlines() if line.startswith("runs ")]
        assert runs[0] == str(n), said
        assert ("`--config 'seeds=[5]'`" in said) == (n == 20)


def test_a_mistake_in_a_change_is_told_of_the_change_and_one_in_the_file_of_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small(one=TVSUM)))
    with pytest.raises(SystemExit, match=r"^estimate: --config seeds=\[1, 1\]: `seeds`"):
        cli.main(["estimate", "--configfile", str(path), "--config", "seeds=[1, 1]"])
    path.write_text(yaml.safe_dump(small(one=TVSUM | {"sources": 1})))
    with pytest.raises(SystemExit, match=r"^estimate: .*c\.yaml: `experiments.one.sources` is an unknown key"):
        cli.main(["estimate", "--configfile", str(path), "--config", "seeds=[1]"])


def test_a_step_of_another_method_costs_what_was_measured_beside_one_of_tr_detr():
    first = costs(one=TVSUM)
    other = costs(one=TVSUM | {"model": {"name": "moment_detr"}})
    factor = methods.settings_class("moment_detr").step_cost
    for label in ("training on a GPU, hours", "training on a CPU, core hours"):
        assert other[label].total == pytest.approx(factor * first[label].total)
    assert 0.3 < factor < 0.9


def test_a_bad_config_is_named_with_its_key(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(small(one={**TVSUM, "sources": "raw"})))
    with pytest.raises(SystemExit, match=r"estimate: .*c\.yaml: `experiments\.one\.sources` is an unknown key"):
        cli.main(["estimate", "--configfile", str(path)])


@pytest.mark.parametrize(("content", "told"), [(None, "No such file"), ("a: [", "is no YAML"), ("- 1", "no keys")])
def test_a_file_that_is_no_config_is_named(tmp_path, content, told):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=told):
        cli.main(["estimate", "--configfile", str(path)])


def test_jobs_are_those_of_a_dry_run_on_an_empty_machine(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert planned.jobs_per_rule(
        "Job stats:\njob      count\n------  ------\nfetch       2\ntrain      11\ntotal      13\n"
    ) == {
        "fetch": 2,
        "train": 11,
    }
    line = planned.planned_jobs(Path("config.yaml"))
    assert "extract 236" in line


def test_jobs_that_cannot_be_counted_say_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no workflow here" in planned.planned_jobs(Path("config.yaml"))


def shipped():
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_parameters_of_a_method_are_those_of_its_network(name):
    torch = pytest.importorskip("torch")
    kind = methods.settings_class(name)
    with torch.device("meta"):
        method = methods.build(kind(), Inputs(2816, 2048 if name == "umt" else 0, 512, 2.0, moments=True))
    assert sum(p.numel() for p in method.network.parameters()) == kind.parameters
