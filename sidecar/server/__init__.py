"""The two listeners and the way to the upstream: the only place that waits."""
