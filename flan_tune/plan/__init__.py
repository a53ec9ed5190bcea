"""What a run will read, need and take, worked out without the hardware: `flan-tune plan`."""
