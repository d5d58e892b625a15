"""handpipe from Python: `import handpipe as hp`. docs/python.md is written from the docstrings of these modules."""
