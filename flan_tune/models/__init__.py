"""The networks, their parameter names and axes, and decoding.  Only these modules see Flax."""
