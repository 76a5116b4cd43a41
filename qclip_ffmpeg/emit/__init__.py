"""Writing a QualityTrack, one file a format."""
