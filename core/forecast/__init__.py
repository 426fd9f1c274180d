"""A rollout foretold: what `worldkv plan` shows, from the settings alone. No weights, no torch."""
