"""One router for each thing that the service offers."""
