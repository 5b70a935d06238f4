"""`python -m spaceeye_stac.cli`."""

from spaceeye_stac.cli.commands import main

if __name__ == "__main__":
    main()
