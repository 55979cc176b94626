"""An object that answers queries with a trained run: `Moments.load(run)`, `.encode(video)`, `.ask(encoded, query)`.

`load` reads the card and the weights (a second). `encode` is slow: it decodes the video and runs the encoders, once.
`ask` is fast: it encodes the words and runs the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline import methods
from pipeline.asking.answer import Answer, scored
from pipeline.asking.card import RunCard, read_card, weights_file_of
from pipeline.asking.pieces import RULE, Piece, longest_piece, merged_saliency, merged_windows, pieces_of
from pipeline.asking.recipes import recipes_of
from pipeline.asking.rows import Encoded, encode, refuse_replaced_rows, rows_folder, store_path
from pipeline.asking.words import LONGEST, Words, qid_of, query_text
from pipeline.errors import PipelineError, printable
from pipeline.features.making.recipe import Recipe
from pipeline.features.store import Store
from pipeline.layout.runs import EPOCHS
from pipeline.methods.contract import Decoded, Method
from pipeline.records import Prediction, Query
from pipeline.training import checkpoint
from pipeline.training.batches import collate
from pipeline.training.cut import clip_scores
from pipeline.training.data import Data, OpenFeatures, load
from pipeline.training.predict import inputs_for

AT_ONCE = 16
"""Number of pieces of a long video that the network sees in one batch. They are equally long, so nothing is padded."""


@dataclass(frozen=True)
class Moments:
    """A trained run that can be asked. Make one with `Moments.load`."""

    card: RunCard
    method: Method
    recipes: Mapping[str, Recipe]
    words: Words

    @classmethod
    def load(cls, run: Path | str, *, epoch: str = EPOCHS[0], weights: Mapping[str, Path] | None = None) -> Moments:
        """Load a run from its folder, `results/runs/EXPERIMENT/RUN`.

        epoch: `selected` (on val) or `last`. weights: name in sources.csv → a weight file of an encoder that lies
        elsewhere than under the run's results folder. Raises PipelineError for a folder without a finished run, for
        weights that are missing or do not fit, and for a run whose features nobody can make from a video.
        """
        card = read_card(run)
        path = weights_file_of(card, epoch)
        recipes = recipes_of(card, weights or {})
        method = methods.build(card.settings.model, inputs_for(card.widths(), card.clip_s, card.dataset))
        try:
            method.network.load_state_dict(checkpoint.read_weights(card.folder, epoch, "cpu"))
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise PipelineError(
                f"does not fit the network of its card ({reason})", where=path, remedy="train that run again"
            ) from error
        method.network.eval()
        return cls(card, method, recipes, Words(recipes[card.features.text]))

    @property
    def longest_clips(self) -> int:
        """Largest number of clips that the network gets at once. A longer video is divided into pieces."""
        about, training = self.card.about, self.card.settings.training
        limits = training.max_clips, self.card.longest_clips, about.padded_s, about.longest_s
        return longest_piece(*limits, self.card.clip_s)

    def encode(self, video: Path | str, *, rows: Path | None = None) -> Encoded:
        """Make the rows of a video that do not exist yet, and keep them beside it. This is slow.

        rows: another folder for the rows. Raises PipelineError for a video that cannot be read.
        """
        video = Path(video)
        recipes = [self.recipes[family] for family in self.card.visual]
        return encode(video, recipes, rows or rows_folder(video))

    def ask(self, encoded: Encoded, query: str = "") -> Answer:
        """Answer one query about an encoded video. This is fast. Without a query the title of the video is the query.

        Raises PipelineError for a query that is no text or is very long, for a video that was encoded for other
        features, and for weights of the words' encoder that do not fit.
        """
        wanted = {family: store_path(encoded.rows, self.recipes[family].passport) for family in self.card.visual}
        if dict(encoded.stores) != wanted:
            had, reads = map(_named, (encoded.stores, wanted))
            raise PipelineError(
                f"was encoded for another run: it has rows of {had}, and this run reads {reads}",
                where=encoded.video,
                remedy="encode it with this run",
            )
        notes = [*self._notes(), *encoded.notes]
        query = query_text(query)
        if not query:
            query = printable(encoded.title)[:LONGEST]
            notes.append(f"No query was given, so the video's title was asked: {query}")
        with self._data(encoded, query) as data:
            n_clips = int(data.video.lengths[0])
            pieces = pieces_of(n_clips, self.longest_clips)
            found = self._found(data, pieces)
        windows = () if found.windows is None else self._windows(found.windows, found.saliency, pieces, encoded)
        saliency = merged_saliency(found.saliency, pieces, n_clips).tolist()
        if found.windows is None:
            notes.append("The run was trained without moments, so it scores clips and predicts no windows.")
        if len(windows) and not any(end > start for start, end, _ in windows):
            notes.append("No window that the run predicts has a length, so none is shown.")
        rule = RULE.format(seconds=pieces[0].n * self.card.clip_s, kept=len(windows)) if len(pieces) > 1 else ""
        return Answer(
            query=query,
            video=encoded.video,
            duration_s=encoded.duration_s,
            run=self.card.name,
            clip_s=self.card.clip_s,
            windows=scored(windows),
            saliency=tuple(saliency),
            n_pieces=len(pieces),
            rule=rule,
            notes=tuple(notes),
        )

    def prediction(self, answer: Answer, qid: int | str, vid: str) -> Prediction:
        """Return an answer in the community's submission form, as the stage `predict` writes it.

        On a dataset with rated clips, only clips that fit whole into the video get a score in this form.
        """
        windows = [[window.start_s, window.end_s, window.score] for window in answer.windows]
        saliency = list(answer.saliency)
        if rated := self.card.about.highlights:
            asked = Query(qid, answer.query, vid, answer.duration_s)
            saliency = clip_scores(saliency, asked, rated.clip_s, is_cut=False)
        return Prediction(qid, answer.query, vid, windows or None, saliency)

    def _windows(
        self, found: Sequence[np.ndarray], saliency: Sequence[np.ndarray], pieces: list[Piece], encoded: Encoded
    ) -> list[list[float]]:
        windows = merged_windows(found, saliency, pieces, self.card.clip_s)
        if len(pieces) > 1:
            windows[:, :2] = windows[:, :2].clip(0, encoded.duration_s)
        rows: list[list[float]] = windows.tolist()
        return rows

    def _notes(self) -> Iterator[str]:
        for family in self.card.imported():
            origin = self.card.passports[family].origin
            yield (
                f"The run was trained on rows of {family} from the archive {origin}. Here they are made of the video,"
                " so they may differ a little from what it was trained on."
            )

    @contextmanager
    def _data(self, encoded: Encoded, query: str) -> Iterator[Data]:
        """Yield the whole video and the query as the stage `predict` reads them, without any cut."""
        paths = dict(encoded.stores)
        paths[self.card.features.text] = self.words.store_of(query, encoded.rows)
        training = self.card.settings.training.model_copy(update={"max_clips": None})
        asked = Query(qid=qid_of(query), query=query, vid=encoded.vid, duration=encoded.duration_s)
        with ExitStack() as stack:
            stores = {family: stack.enter_context(Store([paths[family]])) for family in self.card.features.all}
            for family in self.card.visual:
                refuse_replaced_rows(encoded, stores[family])
            normalisation = self.card.settings.model.normalisation(self.card.dataset)
            yield load(
                OpenFeatures(stores, {}), self.card.features, [asked], training=training, normalisation=normalisation
            )

    @torch.inference_mode()
    def _found(self, data: Data, pieces: list[Piece]) -> Decoded:
        """Run the network on every piece. A piece that is the whole video keeps its exact duration, as in `predict`."""
        shown = _in_pieces(data, pieces)
        windows: list[np.ndarray] | None = []
        saliency: list[np.ndarray] = []
        with _threads(self.card.threads):
            for first in range(0, len(pieces), AT_ONCE):
                batch = collate(shown, range(first, min(first + AT_ONCE, len(pieces))))
                here = shown.queries[first : first + AT_ONCE]
                found = self.method.decode(self.method.outputs(batch), here, batch.n_clips, self.card.dataset)
                saliency += found.saliency
                windows = None if windows is None or found.windows is None else [*windows, *found.windows]
        return Decoded(windows, saliency)


def _named(stores: Mapping[str, Path]) -> str:
    """Return the families as text, each with the digest of its passport, which is the last part of its store's name."""
    return ", ".join(f"{family} ({path.stem.rpartition('.')[2]})" for family, path in stores.items())


def _in_pieces(data: Data, pieces: list[Piece]) -> Data:
    """Return the same rows with one sample per piece, all with the same words. No row is copied."""
    (query,) = data.queries
    if len(pieces) == 1:
        return data
    first = int(data.video.starts[0])
    n = len(pieces)
    return replace(
        data,
        queries=[replace(query, duration=piece.n * data.clip_s) for piece in pieces],
        video=replace(
            data.video,
            starts=torch.tensor([first + piece.start for piece in pieces]),
            lengths=torch.tensor([piece.n for piece in pieces]),
        ),
        text=replace(data.text, starts=data.text.starts.repeat(n), lengths=data.text.lengths.repeat(n)),
        video_of=torch.arange(n),
    )


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Compute with n threads during the block, because the last bits of sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
