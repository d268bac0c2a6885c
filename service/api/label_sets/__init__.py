"""Label sets that clients register under an id and then name in their requests."""
