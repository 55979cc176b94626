"""Methods with moment queries beside TR-DETR: what each does to padding, labels and events, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("torch")

import torch
from made_batches import TEXT, VIDEO, make_batch
from pydantic import ValidationError
from tiny_benchmark import PEERS as ALL_PEERS
from tiny_benchmark import Benchmark, experiment, log_of

from pipeline import datasets, methods
from pipeline.datasets import own
from pipeline.errors import PipelineError
from pipeline.methods.cg_detr import criterion
from pipeline.methods.cg_detr.labels import SourceLabels
from pipeline.methods.contract import Inputs
from pipeline.methods.eatr.events import pseudo_events
from pipeline.methods.settings import MomentQuerySettings
from pipeline.models import attention, elementwise
from pipeline.models.batch import Labels, Outputs, with_tensors
from pipeline.models.elementwise import PathDropout
from pipeline.models.masking import keep_words_as_released
from pipeline.models.windows import scored_windows
from pipeline.records import Query

pytestmark = pytest.mark.usefixtures("torch_one_thread")
PEERS = {name: model for name, model in ALL_PEERS.items() if isinstance(model, MomentQuerySettings)}
WIDTHS = {"hidden_dim": 32, "heads": 4, "queries": 5}


def small(name, *, moments=True, **settings):
    torch.manual_seed(0)
    model = methods.settings_class(name)(**WIDTHS | {"feedforward_dim": 48} | settings)
    return methods.build(model, Inputs(VIDEO, 0, TEXT, 2.0, moments))


def labelled(batch):
    """Return the batch with labels: a moment of each sample, and pairs of its clips."""
    n, length = batch.video_mask.shape
    pairs = torch.tensor([[1, 2]] * n), torch.tensor([[3, 0]] * n)
    common = Labels(torch.tensor([[[0.4, 0.3]]] * n), [1] * n, batch.video_mask * 3, batch.video_mask, *pairs)
    assert length > 3
    return replace(batch, labels=SourceLabels.of(common, batch.vids))


def test_moment_detrs_outputs_do_not_hang_on_the_other_samples():
    network = small("moment_detr").network.eval()
    alone = network(make_batch([6], [3], seed=1))
    beside = network(make_batch([6, 9, 4], [3, 7, 2], seed=1))
    for field in ("logits", "spans", "aux_spans"):
        torch.testing.assert_close(getattr(beside, field)[..., :1, :, :], getattr(alone, field), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(beside.saliency[:1, :6], alone.saliency, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("mates", "leaks"), [(([9, 9, 9], [5, 5, 5]), False), (([9, 6, 9], [5, 3, 5]), True)])
def test_qd_detrs_outputs_hang_on_others_where_lengths_differ(mates, leaks):
    network = small("qd_detr").network.eval()
    alone = network(make_batch([9], [5], seed=1))
    beside = network(make_batch(*mates, seed=1))
    difference = float((beside.saliency[:1] - alone.saliency).detach().abs().max())
    assert (difference > 1e-4) == leaks


def test_qd_detr_scores_a_video_under_the_next_query_only_where_there_are_labels():
    network = small("qd_detr").network.eval()
    batch = make_batch([9, 9], [5, 5])
    plain, full = network(batch), network(labelled(batch))
    assert plain.negative_saliency is None
    assert torch.equal(plain.saliency, full.saliency) and torch.equal(plain.spans, full.spans)
    swapped = replace(batch, text=batch.text.roll(-1, 0), text_mask=batch.text_mask.roll(-1, 0))
    torch.testing.assert_close(full.negative_saliency, network(swapped).saliency)


def test_a_batch_of_one_is_its_own_negative_in_qd_detr():
    outputs = small("qd_detr").network.eval()(labelled(make_batch([9], [5])))
    assert torch.equal(outputs.negative_saliency, outputs.saliency)


@pytest.mark.parametrize("name", ["moment_detr", "qd_detr", "eatr"])
@pytest.mark.parametrize("moments", [True, False])
def test_padded_rows_that_are_spared_change_no_loss_and_no_gradient(name, moments):
    batch = labelled(make_batch([9, 5, 4], [6, 3, 2]))
    found = {}
    for training in (True, False):
        method = small(name, moments=moments, dropout=0.0, input_dropout=0.0)
        method.network.train(training)
        outputs = method.outputs(batch)
        losses = method.losses(outputs, batch, method.match(method.costs(outputs, batch), batch.labels))
        losses["total"].backward()
        found[training] = {key: p.grad for key, p in method.network.named_parameters()} | losses
    for key, value in found[True].items():
        assert (value is None) == (found[False][key] is None), key
        if value is not None:
            torch.testing.assert_close(value, found[False][key], atol=1e-5, rtol=1e-4, msg=key)


def convolved_events(video, n_clips):
    """Return EaTR's pseudo events as the release computes them: similarities of all clips, a 5 x 5 pattern, and
    loops."""
    length, found = video.shape[1], []
    pattern = torch.tensor([1.0, 1, 0, -1, -1])
    for rows, n in zip(video, n_clips, strict=True):
        unit = rows / (rows.norm(dim=1, keepdim=True) + 1e-8)
        alike = (unit @ unit.T)[None, None]
        change = torch.conv2d(alike, torch.outer(pattern, pattern)[None, None], padding=2)[0, 0].diagonal().clone()
        threshold = change.mean()
        change[0] = change[n - 1] = 100
        at = [
            i for i in range(n)
            if change[i] >= change[i - 1] and change[i] >= change[(i + 1) % length] and change[i] >= threshold
        ]  # fmt: skip
        found.append([[(a + b) / 2 / n, (b - a) / n] for a, b in pairwise(at)])
    if len(n_clips) % 2:
        middle = len(n_clips) // 2
        back = n_clips[-1] - 1
        found[middle].insert(0, [back / 2 / n_clips[middle], -back / n_clips[middle]])
    return found


@pytest.mark.parametrize("n_clips", [[20, 13, 9], [16, 16], [12, 30, 5, 4], [7], [1], [2, 1], [3, 3, 1]], ids=str)
def test_eatrs_events_are_those_of_a_convolution_over_similarities(n_clips):
    batch = make_batch(n_clips, [3] * len(n_clips), seed=5)
    spans, there = pseudo_events(batch.video, batch.video_mask)
    found = [row[: int(n)] for row, n in zip(spans, there.sum(1), strict=True)]
    wanted = convolved_events(batch.video, n_clips)
    assert [len(row) for row in found] == [len(row) for row in wanted]
    for row, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(row, torch.tensor(reference).reshape(-1, 2))
    assert bool((there.sort(1, descending=True).values == there).all())


def test_more_events_than_slots_and_none_at_all_are_matched():
    method = small("eatr", queries=3)
    batch = labelled(make_batch([40, 4], [4, 4]))
    batch = replace(batch, video=batch.video * (torch.arange(2)[:, None, None] == 0))  # the second does not change
    outputs = method.network.eval()(batch)
    matches = method.match(method.costs(outputs, batch), batch.labels)
    assert int(outputs.is_event[0].sum()) > 3 and (matches[1][0] >= 0).all()
    losses = method.losses(outputs, batch, matches)
    assert all(bool(loss.isfinite()) for loss in losses.values())


def test_an_event_that_goes_backwards_may_be_as_long_as_the_first_spans():
    """In a batch of three the middle one has such an event: -0.5 wide here, and every span is 0.5 wide at the start."""
    method = small("eatr")
    batch = labelled(make_batch([9, 6, 4], [5, 2, 1]))
    outputs = method.outputs(batch)
    losses = method.losses(outputs, batch, method.match(method.costs(outputs, batch), batch.labels))
    losses["total"].backward()
    gradients = [p.grad for p in method.network.parameters() if p.grad is not None]
    assert all(bool(x.isfinite().all()) for x in [*losses.values(), *gradients])


def test_events_that_are_not_finite_stop_the_matching():
    method = small("eatr").network
    batch = labelled(make_batch([9, 9], [4, 4]))
    with torch.no_grad():
        method.event_span.layers[-1].bias.fill_(torch.nan)
    whole = small("eatr")
    whole.network = method
    outputs = whole.outputs(batch)
    with pytest.raises(PipelineError, match="span is not finite"):
        whole.match(whole.costs(outputs, batch), batch.labels)


@pytest.mark.parametrize("members", [[0, 2, 3], [1], [0, 1, 2, 3, 4], [2, 4]], ids=str)
def test_the_words_mask_among_some_samples_is_that_of_a_batch_of_them(members):
    batch = make_batch([9, 6, 4, 8, 5], [5, 2, 4, 3, 1])
    among = torch.zeros(5).index_fill(0, torch.tensor(members), 1.0)
    found = keep_words_as_released(batch.video_mask, batch.text_mask, 4, among)[members]
    assert torch.equal(found, keep_words_as_released(batch.video_mask[members], batch.text_mask[members], 4))
    keep_words_as_released(batch.video_mask, batch.text_mask, 4, torch.zeros(5))  # of nobody: nothing to compare


def test_names_of_clips_cut_from_one_video_have_one_source():
    vids = ["a_x_60.0_210.0", "a_x_210.0_360.0", "b_60.0_210.0", "akI8YFj_12", "akI8YFj_12_13"]
    common = Labels(torch.zeros(5, 1, 2), [0] * 5, *(torch.zeros(5, 3) for _ in range(2)), *[torch.zeros(5, 1)] * 2)
    assert SourceLabels.of(common, vids).other_source.tolist() == [0, 1, 1, 1, 1]
    alone = SourceLabels.of(common, ["a"])
    assert alone.other_source.tolist() == [0]
    assert with_tensors(alone, lambda _, x: x + 1).other_source.tolist() == [1]


@pytest.mark.parametrize(
    ("vids", "counts"),
    [
        (["a", "a", "b", "c"], False),  # one has none: it drops out of the rank loss
        (["a", "a", "a", "b"], True),  # two have none
        (["a", "a", "a", "a"], True),  # nobody has one
    ],
)
def test_cg_detrs_own_ranks_count_from_two_samples_without_a_wrong_query_on(vids, counts):
    """Only the ranks of the first sample's clips are compared, because no wrong query has a part in them."""
    method = small("cg_detr", attention_weight=0.0).network.eval()
    batch = replace(make_batch([6, 6, 6, 6], [3, 3, 3, 3]), vids=vids)
    batch = labelled(batch)
    outputs, mask = method(batch), batch.video_mask
    shift = torch.zeros_like(mask)
    shift[0, 4] = 0.5  # of no pair: only a rank loss sees it
    moved = replace(outputs, saliency=outputs.saliency + shift)
    rated = replace(batch.labels, saliency=mask.cumsum(1))
    losses = [float(criterion.saliency_loss(each, rated, mask, 0.2, 0.0).detach()) for each in (outputs, moved)]
    assert (abs(losses[0] - losses[1]) > 1e-4) == counts


def test_stochastic_depth_leaves_a_branch_out_for_a_whole_sample():
    torch.manual_seed(0)
    path, x = PathDropout(0.3), torch.ones(2000, 2, 3)
    found = path.train()(x)
    assert torch.equal(path.eval()(x), x)
    assert bool((found == found[:, :1, :1]).all()) and found.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float((found == 0).float().mean()) == pytest.approx(0.3, abs=0.03)


def test_cg_detrs_windows_are_clamped_to_the_duration_before_they_are_rounded():
    logits, spans = torch.zeros(1, 1, 2), torch.tensor([[[0.9, 0.4]]])
    query = Query(qid=1, query="", vid="v", duration=101.0)
    plain, within = (
        scored_windows(logits, spans, [query], "qvhighlights", 2.0, within_duration=clamped)[0, 0, :2].tolist()
        for clamped in (False, True)
    )
    assert (plain, within) == ([70.0, 112.0], [70.0, 100.0])
    method = small("cg_detr")
    nothing = torch.zeros(0, 1, 1, 2)
    given = Outputs(logits=logits, spans=spans, aux_logits=nothing, aux_spans=nothing, saliency=torch.zeros(1, 50))
    assert method.decode(given, [query], [50], "qvhighlights").windows[0][0, :2].tolist() == within


@pytest.mark.parametrize(("duration", "plain", "within"), [(30.96, 30.96, 31.0), (31.33, 31.0, 31.0)])
def test_cg_detrs_windows_on_charades_are_whole_seconds_also_at_the_end(duration, plain, within):
    logits, spans = torch.zeros(1, 1, 2), torch.tensor([[[0.75, 0.5]]])
    query = Query(qid=1, query="", vid="v", duration=duration)
    ends = [
        scored_windows(logits, spans, [query], "charades_sta", 1.0, within_duration=clamped)[0, 0, 1].item()
        for clamped in (False, True)
    ]
    assert ends == [plain, within]


def test_no_window_of_cg_detr_ends_after_a_video_of_ones_own(monkeypatch):
    monkeypatch.setenv(own.VARIABLE, "")
    logits, spans = torch.zeros(1, 1, 2), torch.tensor([[[0.75, 0.5]]])
    query = Query(qid=1, query="", vid="v", duration=26.0)
    datasets.learn("mine", {"annotations": "my.csv", "videos": "videos", "clip": "10s", "raters": 0})
    try:
        ((window,),) = scored_windows(logits, spans, [query], "mine", 10.0, within_duration=True)
    finally:
        datasets.register({})
    assert window[:2].tolist() == [10.0, 26.0]


@pytest.mark.parametrize(("moments", "kept"), [(True, -9.0), (False, -9.001)])
def test_clip_scores_are_rounded_to_float16_only_where_files_are_released(moments, kept):
    method = small("qd_detr", moments=moments)
    nothing = torch.zeros(0, 1, 1, 2)
    given = Outputs(
        logits=torch.zeros(1, 1, 2),
        spans=torch.full((1, 1, 2), 0.5),
        aux_logits=nothing,
        aux_spans=nothing,
        saliency=torch.tensor([[-9.001]]),
    )
    (scores,) = method.decode(given, [Query(qid=1, query="", vid="v", duration=2.0)], [1], "qvhighlights").saliency
    assert scores.tolist() == pytest.approx([kept], abs=1e-5)


def test_more_prompts_picked_than_there_are_are_refused():
    with pytest.raises(ValidationError, match="`prompts_picked` is 11, and there are 10 `prompts`"):
        methods.settings_class("cg_detr")(prompts_picked=11)


def test_cg_detrs_further_weights_are_not_read_without_moments():
    settings = methods.settings_class("cg_detr")(loss_weights={"distillation": 2, "saliency": 2})
    assert settings.never_read(moments=False) == ["loss_weights.distillation"]
    assert settings.never_read(moments=True) == []


def test_moment_detr_drops_where_its_release_does(monkeypatch):
    """There are four dropouts of 0.5 before the projections' layers, and twenty of 0.1. Layers of a stack start with
    equal biases."""
    rates, network = [], small("moment_detr").network.train()
    for place in (elementwise, attention):
        monkeypatch.setattr(place, "drop", lambda x, rate: rates.append(rate) or x)
    network(make_batch([9, 9], [5, 5]))
    assert (rates.count(0.5), rates.count(0.1), len(rates)) == (4, 20, 24)
    first, second = network.decoder.layers
    assert torch.equal(first.feedforward.inner.bias, second.feedforward.inner.bias)
    assert not torch.equal(first.feedforward.inner.weight, second.feedforward.inner.weight)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return Benchmark(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("model", PEERS.values(), ids=lambda model: model.name)
def test_a_toy_problem_is_learned_on_videos_that_were_held_out(benchmark, model):
    longer = {"epochs": 30, "evaluate_every": 30, "learning_rate": 3e-3}
    learned = experiment(model=model, training=longer)
    run = benchmark.train(learned, f"{model.name}_learned") / "all-s2017"
    untrained = experiment(model=model, training={"epochs": 1})
    first = benchmark.train(untrained, f"{model.name}_first") / "all-s2017"
    highlights = "HL-min-VeryGood-Hit1"
    assert float(log_of(run)[-1][highlights]) > 80 > 60 > float(log_of(first)[-1][highlights])
    assert float(log_of(run)[-1]["total"]) < 0.7 * float(log_of(run)[0]["total"])
    benchmark.predict(learned, f"{model.name}_learned")
    assert (benchmark.results / f"predictions/{model.name}_learned.json").is_file()
