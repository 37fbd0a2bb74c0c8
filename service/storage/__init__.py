"""The files of jobs: in a folder of this host, or in a bucket that all hosts reach."""
