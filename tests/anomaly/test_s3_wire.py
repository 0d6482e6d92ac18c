"""What goes wrong on the wire between the S3 store and a real server: faults 40 to 52, by a proxy."""
