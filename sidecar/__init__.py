"""A reverse proxy that shows people the answer and nothing else of a language model's stream.

Words, each used for one thing:

=============  ===================================================================================
Chunk          bytes as the socket gave them; its boundaries mean nothing
Framing        how the events of a stream are told apart: server-sent events, or lines of JSON
Frame          one event with its raw bytes
Wire format    one upstream JSON shape, with its framing
Delta          one increment of one message, item or block
Lane           the state machine of one text
Channel        what text *is*: content, reasoning, tool call, tool result
Region         a stretch between an open and a close marker, belonging to a channel
Marker         a literal that opens, closes or is discarded
Format         facts: the regions of a model family
Segment        a run of text inside one channel, ready to be judged
held           the tail that might still become a marker, or whose fate is not yet decided
Policy         wishes: what happens to each channel
Rule           match (model, path, headers, tools) -> formats and policy; the first match wins
Verdict        for one frame: pass (the original bytes), rewrite, drop
=============  ===================================================================================

Imports point one way: ``errors <- core <- wire <- rules <- server <- cli``. Everything that
*decides* (core, wire) is pure: no I/O, no clock, no randomness. Everything that *waits* is in
``server``, ``playground``, ``demo``, ``doctor``, ``capture`` and the command line.
"""

__version__ = "0.1.0"
