"""Small parts that know neither STOMP nor their users: deadlines, timers, records, masking."""
