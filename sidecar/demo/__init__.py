"""``sidecar demo``: a small upstream with invented transcripts, and the sidecar in front of it.

Stands beside the command line: it uses the server as any operator would, through a configuration.
"""
