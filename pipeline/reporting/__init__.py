"""This room writes what people read: tables of published and reproduced numbers side by side, and figures."""
