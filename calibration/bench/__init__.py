"""The bench: plan x meters x estimators -> a run."""
