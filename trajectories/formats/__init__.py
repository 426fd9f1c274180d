"""Motion strings that the field already uses."""
