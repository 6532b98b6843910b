"""Other libraries on our splits, each in a process of its own, several in an environment of their own."""
