"""What every room may use and none of it knows another room: fields, names, sizes, files, numbers."""
