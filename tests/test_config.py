"""config.yaml is validated by one definition, and an error names the key, its value and what is allowed."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
import yaml
from made_configs import ROOT, shipped, small
from pydantic import ValidationError

from pipeline import config
from pipeline.errors import PipelineError
from pipeline.layout.runs import RunId
from pipeline.settings import Strict

SCHEMA = ROOT / "workflow/schemas/config.schema.json"


def test_the_shipped_config_holds_the_papers_hyper_parameters():
    shipped_config = config.load(shipped())
    tvsum, qvhighlights = shipped_config.experiments["tvsum_v"], shipped_config.experiments["qvhighlights_v"]
    assert (tvsum.training.epochs, tvsum.training.batch_size, tvsum.training.learning_rate) == (2000, 4, 1e-3)
    assert (qvhighlights.training.epochs, qvhighlights.training.batch_size) == (200, 32)
    assert (len(tvsum.runs), len(qvhighlights.runs)) == (30, 3)
    assert list(shipped_config.experiments["ablation"].sweep) == list("abcdefghij")


def test_the_committed_schema_is_the_generated_one():
    assert SCHEMA.read_text(encoding="utf-8") == config.schema()


@pytest.mark.parametrize("path", ["config.yaml", "workflow/profiles/demo/demo.yaml", "docs/table3/study.yaml"])
def test_the_schema_accepts_every_config_of_ours(path):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), schema)


def test_released_predictions_need_a_file_of_the_split_that_is_reported():
    raw = small(source="predictions", predictions={"val": "tr-detr-predictions-val"}, report="test")
    with pytest.raises(PipelineError, match=r"needs `predictions: \{test: NAME\}`"):
        config.load(raw)


def test_the_schema_says_what_a_key_means():
    keys = json.loads(config.schema())["$defs"]["Training"]["properties"]
    assert "divided by ten" in keys["drop_learning_rate_after"]["description"]


def test_an_experiment_takes_the_defaults_of_file_and_dataset_and_lays_its_own_over_them():
    raw = small(training={"epochs": 9}, sweep={"x": {"model": {"mr2hd": False}}, "y": {"training": {"epochs": 2}}})
    one = config.load(raw).experiments["one"]
    assert (one.training.epochs, one.model.loss_weights.saliency, one.model.dropout) == (9, 3, 0.2)
    assert (one.sweep["x"].model.mr2hd, one.sweep["x"].model.dropout, one.sweep["x"].training.epochs) == (False, 0.2, 9)
    assert (one.sweep["y"].model.mr2hd, one.sweep["y"].training.epochs) == (True, 2)


def test_a_run_is_named_by_point_domain_and_seed_and_finds_its_settings():
    one = config.load(small(sweep={"x": {"model": {"mr2hd": False}}}, domains=["BK"], seeds=[1, 2])).experiments["one"]
    assert one.runs == ["x-BK-s1", "x-BK-s2"]
    assert not one.settings_of("x-BK-s2").model.mr2hd
    assert one.domain_of("x-BK-s2") == "BK"


def test_a_resolved_experiment_survives_the_way_through_a_rule():
    one = config.load(small()).experiments["one"]
    assert config.section(config.Experiment, one.model_dump_json(), "") == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "`experiments.one.epochs` is an unknown key"),
        ({"dataset": "tvsums"}, r"`experiments.one.dataset`: .*qvhighlights, charades_sta, tvsum .found 'tvsums'"),
        ({"features": {"video": ["clip"]}}, r"`experiments.one.features.video.0`: no such family; known are clip-vit"),
        (
            {"features": {"video": ["vgg16-charades"]}},
            "vgg16-charades is released only.*vgg16-imagenet, which stands in for it",
        ),
        ({"source": "features"}, "needs `archive: NAME`"),
        ({"training": {"batch_size": 0}}, r"`experiments.one.training.batch_size`: .*greater than 0 \(found 0\)"),
        ({"seeds": [-1]}, r"`experiments.one.seeds.0`: .*greater than or equal to 0 \(found -1\)"),
        ({"seeds": [2**63]}, r"`experiments.one.seeds.0`: .*less than 9223372036854775808"),
        ({"seeds": [1, 2, 1]}, r"`experiments.one.seeds`: a seed is named twice \(found \[1, 2, 1\]\)"),
        ({"domains": ["BK", "BK"]}, r"`experiments.one`: a domain is named twice \(`domains: \['BK', 'BK'\]`\)"),
        (
            {"model": {"heads": 3}},
            "`experiments.one.model`: `heads` must divide `hidden_dim`, and 3 does not divide 256",
        ),
        ({"features": {"video": ["clip-text"]}}, "clip-text is none of `video`: name it under `text`"),
        (
            {"features": {"video": ["clip-vit-b32"], "audio": ["i3d-resnet50"]}},
            "`experiments.one.features`: i3d-resnet50 is none of `audio`: name it under `video`",
        ),
        ({"archive": "a"}, "`source: raw` reads no `archive`"),
        ({"domains": ["XX"]}, r"`experiments.one.domains.0`: .*\(found 'XX'\)"),
    ],
)
def test_an_offending_key_is_named_with_its_value_and_what_is_allowed(change, message):
    with pytest.raises(PipelineError, match=message) as caught:
        config.load(small(**change))
    assert "\n" not in str(caught.value)


def test_words_that_no_archive_has_are_made_beside_an_archive():
    features = {"video": ["vgg16-charades"], "text": "glove-6b-300d"}
    one = config.load(small(source="features", archive="a", features=features)).experiments["one"]
    assert (one.archived, one.made) == (["vgg16-charades"], ["glove-6b-300d"])


def sections(base=Strict):
    for section in base.__subclasses__():
        yield from (section, *sections(section))


NUMBERS = [
    (section, key)
    for section in sections()
    if section.__module__.startswith(("pipeline.config", "pipeline.methods"))
    for key, field in section.model_fields.items()
    if re.search(r"\b(int|float|Literal\[1)\b", str(field)) and "bool" not in str(field)
]
"""Every key of the config whose value is a number, or holds numbers."""


@pytest.mark.parametrize(("section", "key"), NUMBERS, ids=lambda one: getattr(one, "__name__", one))
def test_true_is_no_number(section, key):
    """YAML's `true` would be a 1: one epoch, one job, the seed 1."""
    for value in (True, [True], {"saliency": True, "a": True}):
        with pytest.raises(ValidationError) as refused:
            section.model_validate({key: value})
        assert key in {error["loc"][0] for error in refused.value.errors()}, value


@pytest.mark.parametrize("spelt", ["results", "./results", "results/", "a/../results"])
def test_the_results_folder_has_one_spelling(spelt):
    assert config.load(small() | {"results": spelt}).results == "results"


@pytest.mark.parametrize("spelt", ["", "results/{x}"])
def test_results_that_are_no_folder_to_snakemake_are_refused(spelt):
    with pytest.raises(PipelineError, match="`results`: must be the name of a folder, without braces"):
        config.load(small() | {"results": spelt})


def test_no_job_is_without_a_run():
    one = config.load(small(jobs=7, domains=["BK", "BT"], seeds=[1])).experiments["one"]
    assert (one.jobs, one.n_parts) == (7, 2)
    assert one.parts == ["1of2", "2of2"]


def test_the_seeds_at_the_top_count_for_every_experiment_without_its_own():
    raw = small() | {"seeds": [5, 6], "jobs": 2}
    raw["experiments"]["own"] = raw["experiments"]["one"] | {"seeds": [7], "jobs": 4}
    cfg = config.load(raw)
    assert [(e.seeds, e.jobs) for e in cfg.experiments.values()] == [([5, 6], 2), ([7], 4)]
    assert config.load(small()).experiments["one"].seeds == [2017, 0, 1]


def test_numbers_at_the_top_may_be_text_as_snakemakes_command_line_gives_them():
    cfg = config.load(small() | {"seeds": ["5", "6"], "jobs": "2"})
    assert (cfg.seeds, cfg.experiments["one"].seeds, cfg.experiments["one"].jobs) == ([5, 6], [5, 6], 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, r"config.yaml: `seeds`: List should have at least 1 item[^;]*\(found \[\]\) →"),
        ({"seeds": [3, 3]}, r"config.yaml: `seeds`: a seed is named twice \(found \[3, 3\]\) →"),
        ({"seeds": None}, r"config.yaml: `seeds`: Input should be a valid list \(found None\) →"),
        ({"seeds": 5}, r"config.yaml: `seeds`: Input should be a valid list \(found 5\) →"),
        ({"seeds": [-1]}, r"config.yaml: `seeds.0`: .*greater than or equal to 0 \(found -1\) →"),
        ({"jobs": 0}, r"config.yaml: `jobs`: .*greater than 0 \(found 0\) →"),
    ],
)
def test_a_bad_value_at_the_top_is_named_once_and_not_in_every_experiment(change, message):
    with pytest.raises(PipelineError, match=message):
        config.load(small() | change)


def test_a_job_for_each_seed_holds_all_domains_of_that_seed():
    """With as many `jobs` as seeds, as config.yaml has it, the runs of a part are those of one seed."""
    for experiment in config.load(shipped()).experiments.values():
        if experiment.source != "predictions":
            n, points = experiment.n_parts, max(1, len(experiment.sweep))
            assert n == len(experiment.seeds) * points
            for part in range(n):
                runs = [RunId.parse(run) for run in experiment.runs[part::n]]
                assert len({(run.seed, run.point) for run in runs}) == 1
                assert len(runs) == len(experiment.run_domains)


@pytest.mark.parametrize("table", [3, "3"])
def test_the_number_of_a_table_may_be_text_as_in_a_value_of_the_command_line(table):
    assert config.load(small(table=table, row="TR-DETR V")).experiments["one"].table == 3
