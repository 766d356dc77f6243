"""The playground: a page that shows one answer from both sides, as the model writes it and as a
client gets it.

Stands beside the server, whose data plane it uses as it is: what the page shows as the client's
side has gone through the same filter, asked for by ``client.js``, which is an example to copy.
"""
