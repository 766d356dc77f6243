"""The engine: bytes in, bytes out. Pure: no I/O, no clock, no randomness, no logging."""
