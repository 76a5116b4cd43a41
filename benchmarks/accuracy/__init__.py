"""Our model and its peers on one folder of labelled pictures or clips: `python -m benchmarks.accuracy --help`."""
