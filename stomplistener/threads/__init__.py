"""The running parts, one small module each. They move bytes, batches and time; STOMP's grammar is not known here."""
