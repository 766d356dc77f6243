"""Real clients, over real sockets, against an upstream that answers as real servers do."""
