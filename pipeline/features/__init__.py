"""Features on disk: the stores, the loop that fills them, and the released archives in our form."""
