"""`postil` and `python -m postil`: the shell, with Ctrl-C heard from the first import on."""

import sys


def main() -> int:
    """Runs the shell; 130 when it is interrupted before it could even start."""
    try:
        from postil.cli.app import main as run_shell

        return run_shell()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
