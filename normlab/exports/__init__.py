"""Export jobs and their metrics to other programs: TensorBoard files, an MLflow server."""
