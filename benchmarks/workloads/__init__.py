"""The workloads that the project's speed is measured on, each with its peers; see ../README.md."""
