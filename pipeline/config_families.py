"""The section `families` of config.yaml. It defines a user's own families by the name of a model in a library.

They are checked and registered before the config is validated, so that an experiment may name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pipeline import families, files, own_families
from pipeline.config_layers import complaint
from pipeline.errors import PipelineError
from pipeline.settings import Positive, Strict


class OpenClip(Strict):
    """A model of open_clip. It makes two families: `NAME` of its image tower, and `NAME-text` of its text tower."""

    encoder: Literal["open_clip"]
    """The library that the model belongs to."""
    model: str
    """open_clip's name of the model, such as `ViT-L-14`."""
    weights: Annotated[str, Field(min_length=1)]
    """A safetensors file, the name of a row of sources.csv, or `random:SEED` (to try it out)."""
    pretrained: str | None = None
    """open_clip's tag of these weights, or of the weights that they were trained from. It decides how pictures are
    prepared, and is needed only if the published weights of the model differ in this."""
    batch: Positive | None = None
    """Largest number of pictures that are encoded at a time. With null a default is used. Another batch may change the
    last bits of a row, so rows that exist are kept."""


class TorchvisionVideo(Strict):
    """A video model of torchvision. For each clip of the grid, a row is the input of the model's classifier for the
    frames around this clip."""

    encoder: Literal["torchvision_video"]
    """The library that the model belongs to."""
    model: str
    """Name in `torchvision.models.video`, such as `mvit_v2_s`."""
    weights: Annotated[str, Field(min_length=1)]
    """A file with the state of the network (torch's, or safetensors), the name of a row of sources.csv, or
    `random:SEED` (to try it out)."""
    batch: Positive | None = None
    """Largest number of clips that are encoded at a time. With null a default is used."""


LIBRARIES = ("open_clip", "torchvision_video")
"""The values that `encoder` may have."""

Definition = Annotated[OpenClip | TorchvisionVideo, Field(discriminator="encoder")]
"""The definition of one family of your own."""

_DEFINITIONS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Definition])


def prepared(raw: Mapping[str, Any], where: str) -> dict[str, own_families.Definition]:
    """Check the definitions of a config, register them in this process and in those that it starts, and return them.

    Raises PipelineError for a section with a wrong key, for a name that is in use, for a model that its library does
    not have, and for weights that cannot belong to the model.
    """
    found = definitions(raw, where)
    try:
        families.register(found)
    except PipelineError as error:
        raise PipelineError(f"`{error.where}`: {error.what}", where=where, remedy=error.remedy) from error
    own_families.export_to_children(found)
    return found


def definitions(raw: Mapping[str, Any], where: str) -> dict[str, own_families.Definition]:
    """Return the definitions of a config with absolute paths. Raises PipelineError for a section with a wrong key."""
    try:
        sections = _DEFINITIONS.validate_python(raw.get("families") or {})
    except ValidationError as error:
        said = "; ".join(_complaint({**one}) for one in error.errors())
        raise PipelineError(said, where=where, remedy="correct it there and run again") from error
    return {name: _definition(name, section, where) for name, section in sections.items()}


def _complaint(error: dict[str, Any]) -> str:
    """Describe one error of pydantic's in a line."""
    place = _place(error["loc"])
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = error["input"].get("encoder") if isinstance(error["input"], Mapping) else error["input"]
        return f"`{'.'.join(map(str, place))}.encoder` must be {' or '.join(LIBRARIES)} (found {found!r})"
    return complaint({**error, "loc": place})


def _place(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the keys that lead to a value. pydantic puts the name of the library among them; it is removed here."""
    return ("families", *loc[:1], *loc[2:]) if len(loc) > 1 else ("families", *loc)


def _definition(name: str, section: Strict, where: str) -> own_families.Definition:
    written = section.model_dump(mode="json", exclude_none=True)
    if own_families.is_file(written["weights"]):
        try:
            written["weights"] = str(Path(files.expanded(written["weights"])).absolute())
        except ValueError as error:
            remedy = "correct the path"
            raise PipelineError(f"`families.{name}.weights`: {error}", where=where, remedy=remedy) from error
    return written
