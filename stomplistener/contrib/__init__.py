"""Integrations with frameworks. Each needs the extra of its name; asyncio needs none."""
