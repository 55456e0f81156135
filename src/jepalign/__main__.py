"""``python -m jepalign``."""

from jepalign.cli import main

if __name__ == "__main__":
    main()
