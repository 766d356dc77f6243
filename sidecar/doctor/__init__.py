"""``sidecar doctor``: does a stream arrive as it is sent, through whatever stands in front?

It asks (``asking``), judges how the events came (``pace``), says what is wrong (``diagnosis``), who
is likely to do it (``products``) and which line to change (``advice``), and writes that down
(``report``). Only ``asking`` and ``run`` wait; the others are pure.
"""
