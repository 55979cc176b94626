"""Videos to the tables of the TR-DETR paper: one room per stage, importable without Snakemake."""
