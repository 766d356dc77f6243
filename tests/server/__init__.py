"""The proxy over real sockets: a scripted upstream, the sidecar, and clients that see each byte."""
