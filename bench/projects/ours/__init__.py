"""The project with this package: ``stomp_outbox`` and ``stomp_worker``."""
