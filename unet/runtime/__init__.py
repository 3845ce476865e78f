"""The process that a stage runs in: parameters, device, files, errors."""
