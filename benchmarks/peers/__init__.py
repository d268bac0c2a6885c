"""What people would serve a CLAP with instead, each written as its own documentation has it."""
