"""What is stored: cells as Parquet files with an index, written whole or not at all, read back as one dataset."""
