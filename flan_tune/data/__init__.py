"""The Grain feed: mixture -> examples -> tokens -> packed batches, resumable."""
