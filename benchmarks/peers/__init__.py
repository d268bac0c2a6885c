"""Other ways to serve a CLAP, each written as its own documentation recommends."""
