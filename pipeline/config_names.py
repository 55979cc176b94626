"""The kinds of names in config.yaml, and the checks of such names.

Datasets, domains, families and methods are named in the file and defined elsewhere. Here each kind of name is a
pydantic type. So a section declares what a key may name, and the error about an unknown name lists the known ones.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from pipeline import files, methods
from pipeline.datasets import DATASETS
from pipeline.families import FAMILIES, why_unknown
from pipeline.methods.settings import MethodSettings

DOMAINS = tuple(domain for dataset in DATASETS.values() for domain in dataset.domains)
"""The domains of every dataset that is trained by domain."""


def _known_dataset(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(f"no such dataset; known are {', '.join(DATASETS)}")
    return name


def _known_domain(name: str) -> str:
    if name not in DOMAINS:
        raise ValueError(f"no such domain; known are {', '.join(DOMAINS)}")
    return name


def _known_family(name: str) -> str:
    if name not in FAMILIES:
        raise ValueError(why_unknown(name) or f"no such family; known are {', '.join(FAMILIES)}")
    return name


def _one_spelling(folder: str) -> str:
    folder = files.expanded(folder)
    if not folder or set("{}") & set(folder):
        raise ValueError("must be the name of a folder, without braces (Snakemake takes them for wildcards)")
    return os.path.normpath(folder)  # For Snakemake `./results` and `results` are two folders.


def _address_or_folder(mirror: str) -> str:
    if re.fullmatch(r"https?://[^/\s]+(/\S*)?", mirror):
        return mirror.rstrip("/")
    if "://" in mirror or not (folder := files.expanded(mirror)):
        raise ValueError("must be an http or https address, or the name of a folder")
    return folder


LocalPath = Annotated[str, AfterValidator(files.expanded)]
Mirror = Annotated[str, AfterValidator(_address_or_folder)]
ResultsFolder = Annotated[str, AfterValidator(_one_spelling)]
DatasetName = Annotated[str, AfterValidator(_known_dataset), Field(json_schema_extra={"examples": list(DATASETS)})]
DomainName = Annotated[str, AfterValidator(_known_domain), Field(json_schema_extra={"enum": list(DOMAINS)})]
FamilyName = Annotated[str, AfterValidator(_known_family), Field(json_schema_extra={"examples": sorted(FAMILIES)})]


class _OneOfTheMethods:
    """The settings of the method that a section names. Only the keys of that method are accepted."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler(methods.settings_class(name)) for name in methods.METHODS}
        return core_schema.tagged_union_schema(choices, discriminator=methods.name_in)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the section for editors. A section that names no method accepts the keys of all methods, because
        another section may name the method."""
        return {"anyOf": handler(schema)["oneOf"]}


Model = Annotated[MethodSettings, _OneOfTheMethods]
"""The section `model`: the settings of one method, which is given by the key `name`."""
