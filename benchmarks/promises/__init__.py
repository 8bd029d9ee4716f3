"""What the design promises, one file a promise: each yields records that the table holds against a target."""
