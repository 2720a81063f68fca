"""Claims of papers on linear mode connectivity, each a test with a verdict."""
