"""What a job was and measured, written for other programs: TensorBoard, an MLflow server."""
