"""`python -m localtrack`: the command line, with the interpreter that one chooses."""

from localtrack.cli import main

if __name__ == "__main__":
    main()
