"""Writes the results for people: tables of published and reproduced numbers side by side, figures and pages."""
