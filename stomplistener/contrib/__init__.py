"""The library inside frameworks, each behind the extra of its name; asyncio needs none."""
