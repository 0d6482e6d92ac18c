"""What goes wrong on the wire between the S3 store and a real server, by a proxy (40 to 52)."""
