"""Finds the weights with which the rows of a run were made, by the passports of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline import files
from pipeline.acquire.weights import weights_file
from pipeline.asking.card import RunCard
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport, choice_of, own_weight_files
from pipeline.features.making.recipe import Recipe
from pipeline.layout import Layout
from pipeline.manifests import known_digest


def recipes_of(card: RunCard, given: Mapping[str, Path]) -> dict[str, Recipe]:
    """Return how each family of a run is made: family → recipe.

    given: name in sources.csv → a weight file that is not under the results folder. Raises PipelineError for weights
    that are not here, and for a file of another digest than the run was trained with.
    """
    if strange := [name for name in given if name not in _sources(card)]:
        known = ", ".join(_sources(card)) or "none"
        raise PipelineError(
            f"this run reads no weights of that name; it reads {known}", where=strange[0], remedy="name one of those"
        )
    return {family: _recipe(family, card, given) for family in card.features.all}


def _sources(card: RunCard) -> list[str]:
    names = {name for family in card.features.all for name in FAMILIES[family].weights}
    return sorted(name for name in names if choice_of(name, {}) == "released")


def _recipe(family: str, card: RunCard, given: Mapping[str, Path]) -> Recipe:
    passport, sources = card.passports[family], FAMILIES[family].weights
    wanted = _digests(passport, len(sources))
    parts = [_weights(name, digest, family, card, given) for name, digest in zip(sources, wanted, strict=True)]
    recipe = Recipe(family, passport.grid, Weights.joined(*parts), passport.dtype)
    if passport.origin == "raw" and recipe.passport != passport:
        raise PipelineError(
            f"{family} is made with other settings here than the run was trained with"
            f" ({recipe.passport.preprocessing}; the run: {passport.preprocessing})",
            where=card.folder,
            remedy="extract and train again with this version, or use the version that trained the run",
        )
    return recipe


def _digests(passport: Passport, n: int) -> list[str]:
    """Return the digest (or `random:SEED`) of each weight file, or '' if the passport of an archive has none."""
    if passport.origin != "raw":
        return [""] * n
    parts = passport.weights.split("+") if n else []
    return parts if len(parts) == n else [""] * n


def _weights(name: str, digest: str, family: str, card: RunCard, given: Mapping[str, Path]) -> Weights:
    if digest.startswith("random:"):
        return Weights.named(digest, None)
    if name in given:
        path, found = given[name], files.sha256(given[name])
    else:
        path, found = _fetched(name, card.results)
    if digest and found != digest:
        raise PipelineError(
            f"holds other weights of {family} than the run was trained with (SHA-256 {found[:12]}…, the run:"
            f" {digest[:12]}…)",
            where=path,
            remedy=f"name the file that the run was trained with: --weights {name}=FILE",
        )
    return Weights.named("released", path, found)


def _fetched(name: str, results: Path) -> tuple[Path, str]:
    """Return a weight file that was fetched, and its digest from the manifest.

    A manifest has the paths of the folder in which the workflow ran. From another folder, the file is searched beside
    its manifest. Raises PipelineError, with the command that fetches it, if it is in neither place.
    """
    manifest = Layout(results).manifest("fetched", name=name)
    if manifest.is_file():
        path, found = known_digest(manifest)
        beside = manifest.with_name(path.name)
        if beside.is_file():
            return beside, found
    if original := own_weight_files().get(name):
        if not original.is_file():
            why = "is gone, and these weights are not under the results folder either"
            raise PipelineError(why, where=original, remedy=f"name the file: --weights {name}=FILE")
        return original, files.sha256(original)
    return weights_file(name, results), files.sha256(weights_file(name, results))
