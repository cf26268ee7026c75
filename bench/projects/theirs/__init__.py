"""The project with the peers: django-outbox-pattern's ``publish`` and django-stomp's ``pubsub``."""
