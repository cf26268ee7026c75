"""The worker and the publisher inside frameworks, each behind the extra of its name."""
