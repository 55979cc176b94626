"""Cnn14: its front end equals librosa's, its weights are read without running code, and importing it has no side
effects."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
if find_spec("panns_inference") is None:
    pytest.skip("panns_inference is not installed", allow_module_level=True)

from pipeline.encoders import pann
from pipeline.encoders.base import Weights, encoder_of
from pipeline.encoders.pann import Cnn14
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.making.recipe import Recipe
from pipeline.video.audio import RATE
from pipeline.video.pieces import PIECE


@pytest.fixture(scope="module")
def encoder(torch_one_thread):
    return Cnn14(Weights.named("random:7", None), "cpu")


def pieces(n, seed=0):
    """Return a different tone in each piece, and noise."""
    random = np.random.default_rng(seed)
    tones = np.sin(np.outer(random.uniform(0.01, 1, n), np.arange(PIECE)))
    return (0.3 * tones + 0.05 * random.normal(size=(n, PIECE))).astype(np.float32)


def test_a_piece_gives_2048_numbers_none_below_zero_alone_and_in_company(encoder):
    rows = encoder.encode(pieces(3))
    assert (rows.shape, rows.dtype) == ((3, 2048), np.float32)
    assert (rows >= 0).all()
    assert 0.2 < (rows == 0).mean() < 0.8
    assert np.abs(rows[0] - rows[1]).max() > 0.01 * rows.max()
    np.testing.assert_allclose(encoder.encode(pieces(3)[:1])[0], rows[0], atol=1e-6 * rows.max())


def test_the_row_is_the_layer_before_the_classes(encoder, torch_one_thread):
    network, torch = encoder.network, torch_one_thread
    rows = torch.from_numpy(encoder.encode(pieces(2)))
    with torch.inference_mode():
        classes = network(torch.from_numpy(pieces(2)))["clipwise_output"]
        torch.testing.assert_close(torch.sigmoid(network.fc_audioset(rows)), classes)
    assert classes.shape == (2, 527)


def test_the_front_end_is_librosas_log_mel_spectrogram(encoder, torch_one_thread):
    librosa = pytest.importorskip("librosa")
    network, torch = encoder.network, torch_one_thread
    piece = pieces(1)
    with torch.inference_mode():
        ours = network.logmel_extractor(network.spectrogram_extractor(torch.from_numpy(piece)))[0, 0].numpy()
    power = librosa.feature.melspectrogram(
        y=piece[0], sr=RATE, n_fft=1024, hop_length=320, pad_mode="reflect", n_mels=64, fmin=50, fmax=14000
    )
    assert ours.shape == (201, 64)
    np.testing.assert_allclose(ours, librosa.power_to_db(power, ref=1, amin=1e-10, top_db=None).T, atol=0.01)


def test_random_weights_depend_on_their_seed_and_disturb_nobody(encoder, torch_one_thread):
    before = torch_one_thread.random.get_rng_state()
    other = Cnn14(Weights.named("random:8", None), "cpu")
    assert torch_one_thread.equal(torch_one_thread.random.get_rng_state(), before)
    assert np.abs(other.encode(pieces(1)) - encoder.encode(pieces(1))).max() > 0


def test_a_weight_file_as_published_is_read(encoder, torch_one_thread, tmp_path):
    torch = torch_one_thread
    state = encoder.network.state_dict()
    assert len(state) == 84
    assert (
        sum(p.numel() for p in encoder.network.parameters())
        - sum(state[name].numel() for name in state if "extractor" in name)
        == 80_753_615
    )
    path = tmp_path / "Cnn14_mAP=0.431.pth"
    torch.save({"iteration": 600_000, "model": state, "sampler": {"pointer": 3, "order": [2, 0, 1]}}, path)
    read = Cnn14(Weights.named("released", path), "cpu")
    np.testing.assert_array_equal(read.encode(pieces(2)), encoder.encode(pieces(2)))


class Ran:
    def __reduce__(self):
        return os.mkdir, (str(Path(self.folder) / "ran"),)


def test_a_file_that_is_not_cnn14_is_refused_and_nothing_in_it_runs(encoder, torch_one_thread, tmp_path):
    torch = torch_one_thread
    evil = Ran()
    evil.folder = tmp_path
    state = dict(encoder.network.state_dict())
    of_16_khz = state | {"spectrogram_extractor.stft.conv_real.weight": torch.zeros(257, 1, 512)}
    less = {name: tensor for name, tensor in state.items() if name != "fc1.bias"}
    for k, content in enumerate([{"model": of_16_khz}, {"model": less}, {"no": 1}, [1], {"model": evil}]):
        path = tmp_path / f"{k}.pth"
        torch.save(content, path)
        with pytest.raises(PipelineError, match=f"{k}.pth: does not hold Cnn14 .* → fetch it again"):
            Cnn14(Weights("0" * 64, path), "cpu")
    (tmp_path / "p.pth").write_bytes(pickle.dumps(evil, protocol=2))
    (tmp_path / "t.pth").write_text("<html>not found</html>")
    (tmp_path / "e.pth").touch()
    for name in ("p", "t", "e", "missing"):
        with pytest.raises(PipelineError, match=f"{name}.pth: does not hold Cnn14"):
            Cnn14(Weights("0" * 64, tmp_path / f"{name}.pth"), "cpu")
    assert not (tmp_path / "ran").exists()


def test_the_family_says_what_it_is():
    family = FAMILIES["pann-cnn14"]
    assert (family.reader, family.dim, family.weights) == ("sound", 2048, ("pann-cnn14",))
    assert encoder_of("pann-cnn14").func is encoder_of("pann-cnn14-centred").func is Cnn14
    assert FAMILIES["pann-cnn14-centred"].instead_of == "pann-cnn14-charades"
    passport = Recipe("pann-cnn14", "2s", Weights.named("random:7", None), "float16").passport
    assert (passport.weights, passport.dim) == ("random:7", 2048)
    assert "32 kHz" in passport.preprocessing


WATCHED = """
import hashlib, sys
import numpy, torch
torch.set_num_threads(1)
def watch(event, arguments):
    fetches = event == "subprocess.Popen" and "wget" in str(arguments)
    if fetches or event == "os.system" or event.startswith("socket."):
        raise SystemExit(f"reached for {event} {arguments}")
sys.addaudithook(watch)
from pipeline.encoders.pann import Cnn14
from pipeline.encoders.base import Weights
rows = Cnn14(Weights.named("random:7", None), "cpu").encode(numpy.ones((1, 64000), numpy.float32))
left = sorted(name for name in sys.modules if name.split(".")[0] in ("panns_inference", "matplotlib"))
print(hashlib.sha256(rows).hexdigest(), left)
"""


def test_another_process_finds_equal_bits_asks_no_network_and_leaves_nothing_at_home(encoder, tmp_path):
    variables = {name: os.environ[name] for name in os.environ if not name.startswith(("XDG_", "MPL", "NUMBA"))}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=variables | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    digest = hashlib.sha256(encoder.encode(np.ones((1, PIECE), np.float32))).hexdigest()
    assert (done.stdout, done.returncode) == (f"{digest} []\n", 0), done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_where_librosa_is_read_only_numba_gets_a_folder_that_goes_away(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with pann.numba_cache():
        assert "NUMBA_CACHE_DIR" not in os.environ  # beside librosa, for the next job too
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pann.numba_cache():
        folder = Path(os.environ["NUMBA_CACHE_DIR"])
        assert folder.is_dir()
    assert not folder.exists()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    with pann.numba_cache():
        assert os.environ["NUMBA_CACHE_DIR"] == "mine"


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, f"{pann.PRIVATE}.models", raising=False)
    monkeypatch.setattr(pann, "find_spec", lambda _: None)
    with pytest.raises(PipelineError, match="panns_inference: is not installed → run `make install`"):
        pann.models_of_the_package()


def test_a_matplotlib_that_is_there_is_left_as_it_was():
    code = (
        "import matplotlib\nfrom pipeline.encoders import pann\n"
        "with pann.without_matplotlib(): pass\n"
        "from matplotlib import pyplot\nprint(hasattr(pyplot, 'subplots'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert answer.stdout.strip() == "True"
