"""The `softprompt` command."""


def main() -> None:
    """Run the command line."""
