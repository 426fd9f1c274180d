"""The comparison of memory settings on the embedded model: the evidence behind the defaults."""
