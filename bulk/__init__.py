"""Whole collections of recordings to Parquet, on one machine or on a Ray cluster."""
