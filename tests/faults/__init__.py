"""What goes wrong on either side, and what must come out: one case for each row of the tables.

Both ends of the proxy are raw sockets in the hands of the test. Of each case the client's answer,
the counters and the line of the access log are looked at: they must tell the same story.
"""
