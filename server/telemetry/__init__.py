"""What an operator sees: metrics and traces, taken where events pass the event loop, never on the engine's thread."""
