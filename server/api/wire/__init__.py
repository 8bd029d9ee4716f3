"""Bodies as they are on the wire. Requests forbid what they do not know; responses may gain fields."""
