"""The dialects: each form of a status in each wire format that lists it."""
