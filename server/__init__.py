"""softprompt-server: one frozen base model, many soft prompts, one batch."""

__version__ = "0.1.0"
