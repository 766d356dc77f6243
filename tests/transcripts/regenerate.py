"""Writes the golden output beside each recording: ``python -m tests.transcripts.regenerate``.

NAME.golden.sse is what leaves when NAME.sse arrives under the built-in rule that NAME.yaml's
request would meet. A golden file is only worth what its reader saw in it: run this after a wanted
change, and read the difference. Prints the names of the files that changed.
"""

from __future__ import annotations

from tests.wire.recordings import recordings


def main() -> None:
    for recording in recordings():
        leaves = recording.filtered()
        path = recording.golden_path
        if not path.exists() or path.read_bytes() != leaves:
            path.write_bytes(leaves)
            print(path.name)


if __name__ == "__main__":
    main()
