"""Fitting Q-CLIP: labelled encodes, features, heads. Nothing here is imported when a video is scored."""
