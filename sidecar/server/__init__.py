"""The two listeners, and the way to the upstream."""
