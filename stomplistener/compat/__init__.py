"""The interfaces of other libraries, built on this one, so that programs written for them run."""
