"""What arrives in no recording: the engine, request bodies and configuration files on input that
is made up, by Hypothesis, to break them.

CI runs a bounded number of examples, the same each time. ``HYPOTHESIS_PROFILE=long pytest
tests/fuzz`` runs other ones each time, for an hour or so. What it finds is mended, and what showed
it is kept: as an ``@example`` beside the test, or as a file in ``seeds/``.
"""
